//! Integration tests of the site controller: one binary, a module a subject.
