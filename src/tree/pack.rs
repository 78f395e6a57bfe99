//! Nodes on disk: one file per tree, with the nodes that are new in it and where to find the others.
