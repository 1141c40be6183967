//! A question that somebody else is asked, and what may be taken for its answer. No sockets.

/// The header of a message.
pub(super) const HEADER: usize = 12;

/// A question for somebody else.
#[derive(Debug)]
pub(super) struct Forward {
    /// The question as it came.
    pub(super) packet: Vec<u8>,
    /// Where in it the question section ends.
    pub(super) question_end: usize,
    /// The largest answer that the client takes.
    pub(super) limit: usize,
    /// The answer when nobody answers.
    pub(super) failure: Vec<u8>,
}

/// Returns where the first question of `packet` ends. Its name comes first, so it refers to none.
pub(super) fn question_end(packet: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match usize::from(*packet.get(at)?) {
            0 => break,
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
    let end = at + 1 + 4;
    (end <= packet.len()).then_some(end)
}

impl Forward {
    /// Whether `reply` answers this question, under `id`.
    pub(super) fn is_answered_by(&self, reply: &[u8], id: u16) -> bool {
        let question = |packet: &[u8]| {
            let section = packet.get(HEADER..self.question_end);
            section.map(<[u8]>::to_ascii_lowercase)
        };
        reply.first_chunk() == Some(&id.to_be_bytes())
            && reply.get(2).is_some_and(|flags| flags & 0x80 != 0)
            && reply.get(4..6) == Some(&[0, 1])
            && question(reply) == question(&self.packet)
    }

    /// Returns the question under another id.
    pub(super) fn packet_with(&self, id: u16) -> Vec<u8> {
        with_id(self.packet.clone(), id.to_be_bytes())
    }

    /// Makes the client's answer of `reply`: under its own id, cut when it is too large.
    pub(super) fn finish(&self, reply: Vec<u8>) -> Vec<u8> {
        let mut reply = with_id(reply, *self.packet.first_chunk().unwrap_or(&[0; 2]));
        if reply.len() > self.limit {
            // Nothing of the records is of use when not all are there (RFC 2181 section 9).
            reply.truncate(self.question_end);
            if let Some(flags) = reply.get_mut(2) {
                *flags |= 0x02;
            }
            if let Some(counts) = reply.get_mut(6..HEADER) {
                counts.fill(0);
            }
        }
        reply
    }
}

/// Whether a reply says that there is more of it than fits in a packet.
pub(super) fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Whether a reply says that its sender cannot or does not want to answer.
pub(super) fn is_failure(reply: &[u8]) -> bool {
    let code = reply.get(3).map(|flags| flags & 0x0f);
    matches!(code, Some(2 | 5))
}

fn with_id(mut packet: Vec<u8>, id: [u8; 2]) -> Vec<u8> {
    if let Some(place) = packet.first_chunk_mut() {
        *place = id;
    }
    packet
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn question(name: &str) -> Message {
        let mut question = Message::new(9, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(name).unwrap();
        question.add_query(Query::query(name, RecordType::A));
        question
    }

    fn forward() -> Forward {
        let packet = question("example.com").to_vec().unwrap();
        Forward {
            question_end: question_end(&packet).unwrap(),
            packet,
            limit: 512,
            failure: Vec::new(),
        }
    }

    #[test]
    fn a_reply_counts_only_when_it_is_to_the_question() {
        let forward = forward();
        let reply = |name: &str, id: u16| {
            let mut reply = question(name).into_response();
            reply.metadata.id = id;
            reply.to_vec().unwrap()
        };
        assert!(forward.is_answered_by(&reply("EXAMPLE.com", 7), 7));
        assert!(!forward.is_answered_by(&reply("example.com", 8), 7));
        assert!(!forward.is_answered_by(&reply("example.org", 7), 7));
        assert!(!forward.is_answered_by(&forward.packet_with(7), 7));
        assert!(!forward.is_answered_by(&[], 7));
    }

    #[test]
    fn a_reply_is_passed_on_under_the_id_of_the_client_and_cut_when_it_is_too_large() {
        let mut reply = question("example.com").into_response();
        reply.metadata.id = 7;
        let small = forward().finish(reply.to_vec().unwrap());
        assert_eq!(Message::from_vec(&small).unwrap().metadata.id, 9);
        for n in 0..60 {
            let (name, data) = (reply.queries[0].name.clone(), IpAddr::from([10, 0, 0, n]));
            reply.add_answer(Record::from_rdata(name, 1, RData::from(data)));
        }
        let cut = Message::from_vec(&forward().finish(reply.to_vec().unwrap())).unwrap();
        assert_eq!(cut.metadata.id, 9);
        assert!(cut.metadata.truncation && cut.answers.is_empty());
    }
}
