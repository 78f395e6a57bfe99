//! Physical lines → logical lines: BOM, directives, continuations, comments, heredoc bodies, and the way back to spans.
