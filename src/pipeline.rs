//! The narrative: from a Dockerfile to a tagged image.
