//! Signals: what asks the site to draw less, one kind a file.
