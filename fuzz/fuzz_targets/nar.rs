//! A NAR that the reader accepts is written again byte for byte; whatever it refuses, it refuses
//! without a panic and without much memory.
#![no_main]

use drover::format::nar::{Contents, Executable, NarError, Visitor, Writer, read};
use libfuzzer_sys::fuzz_target;

struct Again(Writer<Vec<u8>>);

impl Again {
    fn at(&mut self, name: Option<&[u8]>) -> Result<&mut Writer<Vec<u8>>, NarError> {
        if let Some(name) = name {
            self.0.entry(name)?;
        }
        Ok(&mut self.0)
    }
}

impl Visitor for Again {
    type Error = NarError;

    fn directory(&mut self, name: Option<&[u8]>) -> Result<(), NarError> {
        self.at(name)?.directory()
    }

    fn end_directory(&mut self) -> Result<(), NarError> {
        self.0.end_directory()
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), NarError> {
        self.at(name)?.symlink(target)
    }

    fn regular(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        contents: &mut Contents<'_>,
    ) -> Result<(), NarError> {
        let size = contents.size();
        self.at(name)?.regular(executable, size, contents)
    }
}

fuzz_target!(|data: &[u8]| {
    let mut again = Again(Writer::new(Vec::new()).expect("memory takes all"));
    if read(data, &mut again).is_ok() {
        let written = again.0.finish().expect("an accepted tree is complete");
        assert_eq!(written, data);
    }
});
