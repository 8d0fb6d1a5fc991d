//! Tar streams made by hand, right or wrong.

/// A stream under construction.
#[derive(Default, Clone)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

/// A header's fields; what is not set is as an ordinary writer has it.
#[derive(Clone)]
pub(crate) struct Block(pub(crate) [u8; 512]);

impl Block {
    pub(crate) fn new(flag: u8, name: impl AsRef<[u8]>) -> Block {
        let name = name.as_ref();
        let mut block = Block([0; 512]);
        block.0[..name.len()].copy_from_slice(name);
        block.set(100, b"0000644\0").set(108, b"0000000\0").set(116, b"0000000\0").set(124, b"00000000000\0");
        block.set(136, b"00000000007\0").set(257, b"ustar\x0000").set(156, &[flag])
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) -> Block {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self.clone()
    }

    pub(crate) fn size(mut self, size: u64) -> Block {
        self.set(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn mode(mut self, mode: u16) -> Block {
        self.set(100, format!("{mode:07o}\0").as_bytes())
    }

    pub(crate) fn target(mut self, target: impl AsRef<[u8]>) -> Block {
        self.set(157, target.as_ref())
    }

    pub(crate) fn device(mut self, major: u32, minor: u32) -> Block {
        self.set(329, format!("{major:07o}\0").as_bytes()).set(337, format!("{minor:07o}\0").as_bytes())
    }

    pub(crate) fn gnu(mut self) -> Block {
        self.set(257, b"ustar  \0")
    }

    pub(crate) fn v7(mut self) -> Block {
        self.set(257, &[0; 8])
    }
}

impl Raw {
    pub(crate) fn block(mut self, mut block: Block) -> Raw {
        block.set(148, b"        ");
        let sum: u32 = block.0.iter().map(|&byte| u32::from(byte)).sum();
        block.set(148, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block.0);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: &[u8]) -> Raw {
        self.block(Block::new(b'0', name).size(content.len() as u64)).bytes(content)
    }

    pub(crate) fn directory(self, name: &str) -> Raw {
        self.block(Block::new(b'5', name).mode(0o755))
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Raw {
        self.block(Block::new(b'2', name).target(target))
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Raw {
        self.block(Block::new(b'1', name).target(target))
    }

    pub(crate) fn device(self, name: &str, major: u32, minor: u32) -> Raw {
        self.block(Block::new(b'3', name).device(major, minor))
    }

    /// An extension with this body.
    pub(crate) fn extension(self, flag: u8, body: impl AsRef<[u8]>) -> Raw {
        let body = body.as_ref();
        self.block(Block::new(flag, "././@Extension").size(body.len() as u64)).bytes(body)
    }

    /// A PAX header with these records.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Raw {
        self.extension(b'x', pax_records(records))
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (keyword, value) in records {
        let rest = keyword.len() + value.len() + 3;
        let length = (rest + 1..rest + 8).find(|length| rest + length.to_string().len() == *length).unwrap();
        body.extend_from_slice(format!("{length} {keyword}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}
