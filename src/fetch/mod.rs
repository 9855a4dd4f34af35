//! Gets paths from elsewhere. No source is built in yet: the seam alone.
