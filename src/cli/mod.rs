//! clap commands, one thin file each.
