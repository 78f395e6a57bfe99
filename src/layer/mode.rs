//! `--chmod`: octal or symbolic modes (chmod(1), umask 0).
