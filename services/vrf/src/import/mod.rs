//! Settings of the former workers, read and turned into a section.
