//! What a killed process left behind is taken back at the next start: build folders, lock files,
//! temporary folders in the store.
