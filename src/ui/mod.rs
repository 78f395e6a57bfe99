//! The only place that draws, colours and renders.
