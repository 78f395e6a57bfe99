//! Applying a foreign tar (a layer of `load`/`pull`, a root filesystem of `import`, an archive of ADD) beneath a
//! directory: the one applier, for hostile input.
