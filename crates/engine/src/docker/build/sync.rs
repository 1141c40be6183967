//! Hands the files of a build over, as BuildKit asks for them: first what there is, then the content
//! of what it wants. Not which files those are ([`super::super::context`]).
//!
//! The protocol is that of the package `fsutil`, `FileSync.DiffCopy` in BuildKit's `session/filesync`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::grpc::{self, Code, Failed, Messages, Reply};
use super::proto::{Fields, Message};
use crate::docker::context::Found;
use crate::docker::wire::Starter;

/// How many packets wait to be sent: enough for the next to be made while one is under way.
const PACKETS: usize = 8;
const PIECE_BYTES: usize = 32 << 10;

/// The kinds of packets.
const REQUEST: u64 = 1;
const DATA: u64 = 2;
const END: u64 = 3;
const FAILURE: u64 = 4;

/// The bits of a file's mode, as Go has them.
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
const SET_USER: u32 = 1 << 23;
const SET_GROUP: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;

/// The first time that archives of kind ZIP can have, with a day for the zones: what builds packages
/// fails on files that are older.
const OLDEST_S: i64 = 315_619_200;

/// What may be asked for, under one name.
#[derive(Debug, Default)]
pub(super) struct Directory(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    stat: Vec<u8>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    None,
    File(PathBuf),
    Text(Bytes),
}

impl Directory {
    /// Returns the directory with these files, which are in the order of a walk.
    pub(super) fn of(found: Vec<Found>) -> Self {
        Self(found.into_iter().map(entry).collect())
    }

    /// Returns a directory with one file.
    pub(super) fn with(name: &str, text: Vec<u8>) -> Self {
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let stat = Message::default()
            .bytes(1, name)
            .number(2, 0o644)
            .number(5, size)
            .number(6, nanoseconds(OLDEST_S));
        Self(vec![Entry {
            stat: stat.done(),
            content: Content::Text(text.into()),
        }])
    }
}

fn entry(found: Found) -> Entry {
    let Found {
        name,
        path,
        metadata,
        link,
    } = found;
    let bits = metadata.permissions().mode();
    let mut mode = bits & 0o777;
    for (bit, go) in [(0o4000, SET_USER), (0o2000, SET_GROUP), (0o1000, STICKY)] {
        if bits & bit != 0 {
            mode |= go;
        }
    }
    let content = match (&link, metadata.is_dir()) {
        (Some(_), _) => {
            mode |= LINK;
            Content::None
        }
        (None, true) => {
            mode |= DIRECTORY;
            Content::None
        }
        (None, false) => Content::File(path),
    };
    let mut stat = Message::default().bytes(1, name).number(2, mode.into());
    if !metadata.is_dir() {
        stat = stat.number(5, metadata.size());
    }
    stat = stat.number(6, nanoseconds(metadata.mtime()));
    if let Some(link) = link {
        stat = stat.bytes(7, link);
    }
    Entry {
        stat: stat.done(),
        content,
    }
}

/// Returns a time as the protocol has it.
fn nanoseconds(seconds: i64) -> u64 {
    let nanoseconds = seconds.max(OLDEST_S).saturating_mul(1_000_000_000);
    u64::try_from(nanoseconds).unwrap_or_default()
}

/// Begins to hand a directory over.
pub(super) fn begin(
    directory: Arc<Directory>,
    asked: Messages<Incoming>,
    tasks: &Starter,
) -> Response<Reply> {
    let (packets, sent) = mpsc::channel(PACKETS);
    tasks.start(async move {
        let failed = carry(&directory, asked, &packets).await.err();
        // Whoever asked may be gone.
        let end = Frame::trailers(grpc::ended(failed.as_ref()));
        drop(packets.send(end).await);
    });
    let frames = stream::unfold(sent, |mut sent| async {
        let frame = sent.recv().await?;
        Some((Ok(frame), sent))
    });
    grpc::respond(StreamBody::new(frames).boxed_unsync())
}

async fn carry(
    directory: &Directory,
    mut asked: Messages<Incoming>,
    packets: &mpsc::Sender<Frame<Bytes>>,
) -> Result<(), Failed> {
    // Each file is asked for once.
    let (wanted, mut wants) = mpsc::channel(directory.0.len() + 1);
    let listening = async move {
        while let Some(packet) = asked.next().await? {
            match read(&packet) {
                Packet::Wants(id) => drop(wanted.try_send(id)),
                Packet::End => break,
                Packet::Failure(words) => return Err(Failed::new(Code::Unknown, words)),
            }
        }
        Ok(())
    };
    let telling = async {
        for entry in &directory.0 {
            send(packets, Message::default().bytes(2, &entry.stat)).await?;
        }
        send(packets, Message::default()).await?;
        while let Some(id) = wants.recv().await {
            hand_over(directory, id, packets).await?;
        }
        send(packets, Message::default().number(1, END)).await
    };
    tokio::try_join!(listening, telling).map(drop)
}

/// What is asked.
enum Packet {
    Wants(u64),
    End,
    Failure(String),
}

fn read(packet: &[u8]) -> Packet {
    let (mut kind, mut id, mut words) = (0, 0, String::new());
    for (number, value) in Fields(packet) {
        match number {
            1 => kind = value.number(),
            3 => id = value.number(),
            4 => words = value.text(),
            _ => {}
        }
    }
    match kind {
        REQUEST => Packet::Wants(id),
        END => Packet::End,
        FAILURE => Packet::Failure(words),
        other => Packet::Failure(format!("a packet of the kind {other} was not expected")),
    }
}

async fn hand_over(
    directory: &Directory,
    id: u64,
    packets: &mpsc::Sender<Frame<Bytes>>,
) -> Result<(), Failed> {
    let entry = usize::try_from(id).ok().and_then(|id| directory.0.get(id));
    let data = |piece: &[u8]| {
        let packet = Message::default().number(1, DATA).number(3, id);
        if piece.is_empty() {
            packet
        } else {
            packet.bytes(4, piece)
        }
    };
    match entry.map(|entry| &entry.content) {
        Some(Content::Text(text)) => {
            for piece in text.chunks(PIECE_BYTES) {
                send(packets, data(piece)).await?;
            }
        }
        Some(Content::File(path)) => {
            let failed = |error: std::io::Error| {
                let words = format!("cannot read {}: {error}", path.display());
                Failed::new(Code::Unknown, words)
            };
            let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
            let mut piece = vec![0; PIECE_BYTES];
            while let length @ 1.. = file.read(&mut piece).await.map_err(failed)? {
                send(packets, data(piece.get(..length).unwrap_or_default())).await?;
            }
        }
        Some(Content::None) | None => {
            let words = format!("there is no file with the number {id}");
            return Err(Failed::new(Code::InvalidArgument, words));
        }
    }
    send(packets, data(&[])).await
}

async fn send(packets: &mpsc::Sender<Frame<Bytes>>, packet: Message) -> Result<(), Failed> {
    let frame = Frame::data(grpc::framed(&packet.done()));
    let sent = packets.send(frame).await;
    sent.map_err(|_| Failed::new(Code::Unknown, "nobody asks any more"))
}
