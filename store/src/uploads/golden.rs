//! The file of an upload as it has always been: its head, whatever was announced, and its pieces.

use std::time::Duration;

use super::file::{FIELDS_BYTES, HEAD_BYTES, Pieces, VERSION, head, read_head};
use super::*;
use crate::golden;

/// Where in a head the number of its packing is, behind magic, version and flags.
const PACKING_AT: usize = 8 + 4 + 1;

fn read(head: &[u8]) -> Option<NewUpload> {
    read_head(head.first_chunk::<HEAD_BYTES>()?)
}

/// A head that says something else, and that this is what was written.
fn altered(head: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut fields = head[..FIELDS_BYTES].to_vec();
    fields[at] = byte;
    let digest = blake3::hash(&fields);
    [&fields[..], digest.as_bytes()].concat()
}

#[test]
fn an_upload_is_what_it_always_was() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let uploads = Uploads::open(dir.path(), UploadBounds::default()).unwrap();
    let mut forms = Vec::new();
    let mut packings = Vec::new();
    for packing in Packing::ALL {
        packings.push(packing as u8);
        for application in [None, Some(ApplicationId::from_bytes([7; 32]))] {
            for bytes in [None, Some(0x0102)] {
                let new = NewUpload {
                    application,
                    bytes,
                    packing,
                };
                let head = head(&new);
                assert_eq!(read(&head).as_ref(), Some(&new));
                let of = if application.is_some() {
                    "an application"
                } else {
                    "anything"
                };
                let long = if bytes.is_some() {
                    "258 bytes"
                } else {
                    "any length"
                };
                let name = format!("head of {of}, {long}, {}", packing.name());
                forms.push((name, head));
            }
        }
    }
    // As they lie in a file that was begun and gone on with.
    let announced = NewUpload {
        application: None,
        bytes: Some(12),
        packing: Packing::Plain,
    };
    let id = uploads.create(announced.clone(), now).unwrap().id;
    for (offset, piece) in [(0, "content"), (7, ""), (7, " more")] {
        uploads.append(id, offset, piece.as_bytes(), now).unwrap();
    }
    let path = dir.path().join(format!("{id}.{EXTENSION}"));
    let file = fs::read(&path).unwrap();
    let mut opened = File::open(&path).unwrap();
    opened.read_exact(&mut [0; HEAD_BYTES]).unwrap();
    let mut pieces = Pieces::of(opened, file.len() as u64);
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().unwrap() {
        content.extend_from_slice(piece);
    }
    assert_eq!((&content[..], pieces.left()), (&b"content more"[..], 0));

    let head = head(&announced);
    let known = golden::known(|number| read(&altered(&head, PACKING_AT, number)).is_some());
    assert_eq!(known, packings, "a packing has no kept form");
    let known = golden::known(|number| read(&altered(&head, 8, number)).is_some());
    let known: Vec<u32> = known.into_iter().map(u32::from).collect();
    assert_eq!(known, [VERSION], "a version has no kept form");
    forms.push(("a file in pieces".to_owned(), file));
    golden::check("uploads.txt", &forms);
}
