//! Names of files and directories in the store, the `meta` file and its feature lists.
