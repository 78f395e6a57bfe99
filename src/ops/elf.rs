//! `--with-libs`: what an ELF program needs, found as its root's own loader would find it.
