//! The file of a backup: a tar archive of which every byte is known beforehand or covered by a checksum.
//!
//! ```text
//!   backup.json  keys/...  store/000001 ...  images/<repository>/{blobs,manifests}/<digest> ...  end.json
//! ```
//! `end.json` lists every part with its SHA-256, and has one over that list. `tar` and `sha256sum` read it as well.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::Header;

/// The first part: without it a file is no backup.
pub const FIRST: &str = "backup.json";
/// The last part.
const LAST: &str = "end.json";
/// Tar counts in these, and pads with zeros.
const BLOCK: u64 = 512;
/// Two of them, empty, end an archive.
const TAIL: [u8; 1024] = [0; 1024];
/// A part that is read whole is no larger.
const MAX_SMALL: u64 = 256 << 20;

/// Why a file is not a whole backup.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It could not be read or written.
    #[error("use the file")]
    File(#[from] io::Error),
    /// It is something else.
    #[error("understand it: it is no backup of Trireme")]
    Foreign,
    /// It ends too early.
    #[error("read all of it: it ends in the middle of `{0}`; it was cut off")]
    Cut(String),
    /// A byte is not what it was.
    #[error("trust it: `{0}` is not what was written; the file was damaged or changed")]
    Changed(String),
    /// A part has a name that tar has no room for.
    #[error("write `{0}`: its name is too long")]
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    parts: Vec<Part>,
    /// Over the list of parts.
    whole: String,
}

impl End {
    fn of(parts: Vec<Part>) -> End {
        let list = serde_json::to_vec(&parts).expect("it holds text and numbers");
        End { whole: hex(&Sha256::digest(list)), parts }
    }
}

/// A part on its way: where its bytes are counted and summed.
struct Open {
    name: String,
    bytes: u64,
    left: u64,
    sum: Sha256,
}

impl Open {
    fn new(name: &str, bytes: u64) -> Open {
        Open { name: name.to_owned(), bytes, left: bytes, sum: Sha256::new() }
    }

    fn pass(&mut self, data: &[u8]) {
        self.sum.update(data);
        self.left -= data.len() as u64;
    }

    fn padding(&self) -> usize {
        usize::try_from((BLOCK - self.bytes % BLOCK) % BLOCK).unwrap_or_default()
    }

    fn done(self) -> Part {
        Part { name: self.name, bytes: self.bytes, sha256: hex(&self.sum.finalize()) }
    }
}

/// Writes a backup, part after part.
pub struct Writer<W> {
    out: W,
    open: Option<Open>,
    parts: Vec<Part>,
}

impl<W: Write> Writer<W> {
    /// Into `out`.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, open: None, parts: Vec::new() }
    }

    /// What is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// A whole part.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        self.begin(name, content.len() as u64)?;
        self.feed(content)?;
        self.end().map(|_| ())
    }

    /// Begins a part of this size.
    pub fn begin(&mut self, name: &str, bytes: u64) -> Result<(), ArchiveError> {
        self.out.write_all(header(name, bytes)?.as_bytes())?;
        self.open = Some(Open::new(name, bytes));
        Ok(())
    }

    /// Goes on with it.
    pub fn feed(&mut self, data: &[u8]) -> Result<(), ArchiveError> {
        let open = self.open.as_mut().expect("a part was begun");
        if data.len() as u64 > open.left {
            return Err(ArchiveError::Changed(open.name.clone()));
        }
        open.pass(data);
        Ok(self.out.write_all(data)?)
    }

    /// Ends it; gives its SHA-256.
    pub fn end(&mut self) -> Result<&str, ArchiveError> {
        let open = self.open.take().expect("a part was begun");
        if open.left > 0 {
            return Err(ArchiveError::Cut(open.name));
        }
        self.out.write_all(&TAIL[..open.padding()])?;
        self.parts.push(open.done());
        Ok(&self.parts[self.parts.len() - 1].sha256)
    }

    /// Writes the end; gives what was written to, and the fingerprint of the whole.
    pub fn finish(mut self) -> Result<(W, String), ArchiveError> {
        let end = End::of(std::mem::take(&mut self.parts));
        let text = serde_json::to_vec(&end).expect("it holds text and numbers");
        self.add(LAST, &text)?;
        self.out.write_all(&TAIL)?;
        self.out.flush()?;
        Ok((self.out, end.whole))
    }
}

/// Reads a backup, part after part. What it gave is true only when [`Reader::next`] came to the end.
pub struct Reader<R> {
    input: R,
    open: Option<Open>,
    parts: Vec<Part>,
    whole: Option<String>,
}

/// A part that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl<R: Read> Reader<R> {
    /// From `input`.
    pub fn new(input: R) -> Reader<R> {
        Reader { input, open: None, parts: Vec::new(), whole: None }
    }

    /// Leaves what is left of a part, and begins the next one. None: all was read, and all of it is true.
    pub fn next(&mut self) -> Result<Option<Begun>, ArchiveError> {
        let mut rest = vec![0; 64 << 10];
        while self.read(&mut rest)? > 0 {}
        self.close()?;
        if self.whole.is_some() {
            return Ok(None);
        }
        let begun = self.head()?;
        if begun.name != LAST {
            return Ok(Some(begun));
        }
        let text = self.content(&begun)?;
        self.close()?;
        let said: End = serde_json::from_slice(&text).map_err(|_| changed(LAST))?;
        self.parts.pop();
        let end = End::of(std::mem::take(&mut self.parts));
        let is_as_written = serde_json::to_vec(&said).is_ok_and(|again| again == text);
        if said.parts != end.parts || said.whole != end.whole || !is_as_written {
            return Err(changed(LAST));
        }
        let mut tail = Vec::new();
        (&mut self.input).take(TAIL.len() as u64 + 1).read_to_end(&mut tail)?;
        match tail.len().cmp(&TAIL.len()) {
            std::cmp::Ordering::Less => return Err(ArchiveError::Cut(LAST.to_owned())),
            std::cmp::Ordering::Equal if tail == TAIL => {}
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => return Err(changed(LAST)),
        }
        self.whole = Some(end.whole);
        Ok(None)
    }

    /// Some bytes of the part; none when it is at its end.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, ArchiveError> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let most = usize::try_from(open.left).unwrap_or(usize::MAX).min(into.len());
        let got = self.input.read(&mut into[..most])?;
        if got == 0 && most > 0 {
            return Err(ArchiveError::Cut(open.name.clone()));
        }
        open.pass(&into[..got]);
        Ok(got)
    }

    /// All of a small part.
    pub fn content(&mut self, begun: &Begun) -> Result<Vec<u8>, ArchiveError> {
        if begun.bytes > MAX_SMALL {
            return Err(changed(&begun.name));
        }
        let mut content = vec![0; usize::try_from(begun.bytes).unwrap_or_default()];
        let mut filled = 0;
        while filled < content.len() {
            filled += self.read(&mut content[filled..])?;
        }
        Ok(content)
    }

    /// The fingerprint of the whole, once all was read.
    pub fn fingerprint(&self) -> Option<&str> {
        self.whole.as_deref()
    }

    fn close(&mut self) -> Result<(), ArchiveError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut padding = vec![0; open.padding()];
        exactly(&mut self.input, &mut padding, &open.name)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ArchiveError::Changed(open.name));
        }
        self.parts.push(open.done());
        Ok(())
    }

    fn head(&mut self) -> Result<Begun, ArchiveError> {
        let after = self.parts.last().map_or("", |part| part.name.as_str()).to_owned();
        let mut found = Header::new_ustar();
        let mut bytes = [0; BLOCK as usize];
        exactly(&mut self.input, &mut bytes, &after).map_err(|error| match error {
            ArchiveError::Cut(_) if after.is_empty() => ArchiveError::Foreign,
            other => other,
        })?;
        found.as_mut_bytes().copy_from_slice(&bytes);
        let begun = understand(&found);
        let is_first = after.is_empty();
        match begun {
            Some(begun) if !is_first || begun.name == FIRST => {
                self.open = Some(Open::new(&begun.name, begun.bytes));
                Ok(begun)
            }
            Some(_) | None if is_first => Err(ArchiveError::Foreign),
            Some(_) | None => Err(ArchiveError::Changed(format!("what follows {after}"))),
        }
    }
}

/// The one header a part of this name and size can have.
fn header(name: &str, bytes: u64) -> Result<Header, ArchiveError> {
    let mut header = Header::new_ustar();
    header.set_path(name).map_err(|_| ArchiveError::Name(name.to_owned()))?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Anything but the header that we would have written is none.
fn understand(found: &Header) -> Option<Begun> {
    let name = std::str::from_utf8(&found.path_bytes()).ok()?.to_owned();
    let begun = Begun { bytes: found.size().ok()?, name };
    let ours = header(&begun.name, begun.bytes).ok()?;
    (ours.as_bytes() == found.as_bytes()).then_some(begun)
}

fn exactly(input: &mut impl Read, into: &mut [u8], part: &str) -> Result<(), ArchiveError> {
    input.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Cut(part.to_owned()),
        _ => error.into(),
    })
}

fn changed(part: &str) -> ArchiveError {
    ArchiveError::Changed(part.to_owned())
}

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (Vec<u8>, String) {
        let mut writer = Writer::new(Vec::new());
        writer.add(FIRST, b"{}").unwrap();
        writer.add("store/000001", &[b'a'; 700]).unwrap();
        writer
            .add(&format!("images/git/{}/blobs/sha256:{}", "a".repeat(60), "0".repeat(64)), b"")
            .unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(Vec<(String, usize)>, String), ArchiveError> {
        let mut reader = Reader::new(bytes);
        let mut parts = Vec::new();
        while let Some(begun) = reader.next()? {
            let content = reader.content(&begun)?;
            parts.push((begun.name, content.len()));
        }
        Ok((parts, reader.fingerprint().unwrap().to_owned()))
    }

    #[test]
    fn what_was_written_is_read_and_tar_reads_it_too() {
        let (bytes, fingerprint) = written();
        let (parts, again) = read(&bytes).unwrap();
        assert_eq!((parts.len(), &again), (3, &fingerprint));
        assert_eq!(parts[1], ("store/000001".to_owned(), 700));
        let mut archive = tar::Archive::new(bytes.as_slice());
        assert_eq!(archive.entries().unwrap().map(Result::unwrap).count(), 4);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (bytes, _) = written();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "byte {place} of {}", bytes.len());
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let (bytes, _) = written();
        for place in 0..bytes.len() {
            assert!(read(&bytes[..place]).is_err(), "cut at {place} of {}", bytes.len());
        }
        assert!(read(&[bytes.as_slice(), b"\0"].concat()).is_err());
    }

    #[test]
    fn something_else_is_called_so() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, "a", b"a".as_slice()).unwrap();
        for foreign in [b"hello".to_vec(), vec![0; 4096], tar.into_inner().unwrap(), Vec::new()] {
            assert!(matches!(read(&foreign), Err(ArchiveError::Foreign)));
        }
    }
}
