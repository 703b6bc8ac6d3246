//! What flowrun does: moves bytes and runs other people's code.
