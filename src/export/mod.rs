//! Images out of and into the store: OCI layouts and docker archives, root filesystem tars, local directories.
