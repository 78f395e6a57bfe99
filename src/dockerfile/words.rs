//! Splitting an argument text into words: quotes, escapes, heredoc markers.
