//! The only place that draws, colours and renders. Everything that a step, an image or an archive says is stripped of
//! what could drive a terminal before it is drawn ([`sanitize`]).

pub mod findings;
pub mod line_diff;
pub mod out;
pub mod progress;
pub mod report;
pub mod sanitize;
pub mod steps;
pub mod table;
pub mod template;
