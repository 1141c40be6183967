//! What a question is answered, without a socket. Not where questions come from.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use towpath_model::routing::NAME_TTL;

use super::question::{Forward, HEADER, question_end};
use super::views::{View, Views, normal_name};

/// The largest answer over UDP that is sent to anybody: it fits in one packet on every network
/// (DNS flag day 2020).
const MAX_UDP: u16 = 1_232;

/// The largest answer over UDP to a client that does not say what it takes (RFC 1035 section 2.3.4).
const PLAIN_UDP: u16 = 512;

/// What an answer has apart from its records, beside the name: the header, the question's type and
/// class, the root of the name, and an OPT record without options.
const FRAME: usize = HEADER + 4 + 1 + 11;

/// What a question came over, which bounds its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is done with a packet.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This is sent back.
    Reply(Vec<u8>),
    /// Somebody else knows.
    Forward(Forward),
    /// No view has the client yet. This is sent back where none does in time.
    Unknown(Vec<u8>),
    /// Nothing: it is no question that could be answered.
    Drop,
}

/// Decides what `packet`, which `client` sent, is answered.
pub(super) fn answer(
    packet: &[u8],
    client: IpAddr,
    transport: Transport,
    views: &Views,
) -> Verdict {
    let Ok(question) = Message::from_vec(packet) else {
        return malformed(packet);
    };
    if question.metadata.message_type != MessageType::Query {
        return Verdict::Drop;
    }
    let limit = limit(&question, transport);
    let refuse = |code| reply(&mut response(&question, code), limit);
    if question.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = question.queries.as_slice() else {
        return refuse(ResponseCode::FormErr);
    };
    if question
        .edns
        .as_ref()
        .is_some_and(|edns| edns.version() > 0)
    {
        return refuse(ResponseCode::BADVERS);
    }
    let Some(view) = views.of(client) else {
        return match refuse(ResponseCode::Refused) {
            Verdict::Reply(refusal) => Verdict::Unknown(refusal),
            other => other,
        };
    };
    if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) || query.name.is_root() {
        return refuse(ResponseCode::Refused);
    }
    match local(view, query) {
        Some(addresses) => {
            let mut response = response(&question, ResponseCode::NoError);
            response.metadata.authoritative = true;
            fill(&mut response, query, addresses, views.next_turn(), limit);
            reply(&mut response, limit)
        }
        None if view.refuses_others => refuse(ResponseCode::Refused),
        None if query.name.num_labels() <= 1 => refuse(ResponseCode::NXDomain),
        None => forward(packet, &question, limit),
    }
}

/// The header of a question that cannot be read is answered, unless even that is not whole.
fn malformed(packet: &[u8]) -> Verdict {
    let (Some(&[high, low]), Some(&flags), Some(_)) = (
        packet.first_chunk::<2>(),
        packet.get(2),
        packet.get(..HEADER),
    ) else {
        return Verdict::Drop;
    };
    let is_response = flags & 0x80 != 0;
    if is_response {
        return Verdict::Drop;
    }
    let id = u16::from_be_bytes([high, low]);
    let mut refusal = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    reply(&mut refusal, usize::from(PLAIN_UDP))
}

fn limit(question: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => {
            let offered = question.edns.as_ref().map(Edns::max_payload);
            usize::from(offered.unwrap_or(PLAIN_UDP).clamp(PLAIN_UDP, MAX_UDP))
        }
    }
}

fn response(question: &Message, code: ResponseCode) -> Message {
    let asked = &question.metadata;
    let mut response = Message::response(asked.id, asked.op_code);
    response.metadata.recursion_desired = asked.recursion_desired;
    response.metadata.checking_disabled = asked.checking_disabled;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    if let [query] = question.queries.as_slice() {
        response.add_query(query.clone());
    }
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP).set_version(0);
        response.set_edns(edns);
    }
    response
}

/// Returns the addresses behind the name that `query` asks for, if it is one of the view's.
fn local<'v>(view: &'v View, query: &Query) -> Option<&'v [IpAddr]> {
    view.addresses(&normal_name(&query.name.to_ascii()))
}

/// Adds the addresses of the type that is asked for, another one first at each turn, as many as
/// fit. That some do not fit is told, so that the client asks again over TCP.
fn fill(response: &mut Message, query: &Query, all: &[IpAddr], turn: usize, limit: usize) {
    let any = query.query_type == RecordType::ANY;
    let wanted: Vec<_> = all
        .iter()
        .filter(|address| match address {
            IpAddr::V4(_) => any || query.query_type == RecordType::A,
            IpAddr::V6(_) => any || query.query_type == RecordType::AAAA,
        })
        .collect();
    let mut left = limit.saturating_sub(FRAME + query.name.len());
    for nth in 0..wanted.len() {
        let Some(&&address) = wanted.get((turn % wanted.len() + nth) % wanted.len()) else {
            break;
        };
        let size = record_size(address);
        if size > left {
            response.metadata.truncation = true;
            break;
        }
        left -= size;
        response.add_answer(record(&query.name, address));
    }
}

/// How large a record is whose name is a reference to the question's.
fn record_size(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 16,
        IpAddr::V6(_) => 28,
    }
}

fn record(name: &Name, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    let seconds = u32::try_from(NAME_TTL.as_secs()).unwrap_or(u32::MAX);
    Record::from_rdata(name.clone(), seconds, data)
}

/// Writes `response`. One that cannot be written or is too large becomes a failure without records.
fn reply(response: &mut Message, limit: usize) -> Verdict {
    match response.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Verdict::Reply(bytes),
        _ => {
            let (id, code) = (response.metadata.id, response.metadata.op_code);
            let failure = Message::error_msg(id, code, ResponseCode::ServFail).to_vec();
            failure.map_or(Verdict::Drop, Verdict::Reply)
        }
    }
}

fn forward(packet: &[u8], question: &Message, limit: usize) -> Verdict {
    let failure = response(question, ResponseCode::ServFail).to_vec();
    match (question_end(packet), failure) {
        (Some(question_end), Ok(failure)) => Verdict::Forward(Forward {
            packet: packet.to_vec(),
            question_end,
            limit,
            failure,
        }),
        _ => malformed(packet),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_model::routing;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn view(clients: &[&str], names: &[(&str, &[&str])]) -> routing::View {
        routing::View {
            clients: clients.iter().map(|one| address(one)).collect(),
            names: names
                .iter()
                .map(|(name, all)| {
                    let all = all.iter().map(|one| address(one)).collect();
                    ((*name).to_owned(), all)
                })
                .collect(),
            refuses_others: false,
        }
    }

    fn views(views: Vec<routing::View>) -> Views {
        Views::from(&routing::NameServer {
            environment: "shop/production".parse().unwrap(),
            views,
        })
    }

    fn shop() -> Views {
        views(vec![
            view(&["10.0.0.9"], &[("web", &["10.0.0.2"])]),
            view(
                &[],
                &[
                    ("Web", &["10.0.0.1", "10.0.0.3", "fd00::1"]),
                    ("db.internal", &["10.0.0.4"]),
                    ("gone", &[]),
                ],
            ),
        ])
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        question
    }

    fn verdict(question: &Message, client: &str, transport: Transport) -> Verdict {
        let packet = question.to_vec().unwrap();
        answer(&packet, address(client), transport, &shop())
    }

    fn asked(question: &Message, client: &str) -> Message {
        match verdict(question, client, Transport::Udp) {
            Verdict::Reply(reply) => Message::from_vec(&reply).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn addresses(reply: &Message) -> Vec<String> {
        reply
            .answers
            .iter()
            .filter_map(|record| Some(record.data.ip_addr()?.to_string()))
            .collect()
    }

    #[test]
    fn the_first_view_that_has_the_client_answers_it() {
        let web = question("web.", RecordType::A);
        assert_eq!(addresses(&asked(&web, "10.0.0.9")), ["10.0.0.2"]);
        assert_eq!(addresses(&asked(&web, "::ffff:10.0.0.9")), ["10.0.0.2"]);
        assert_eq!(
            addresses(&asked(&web, "10.0.0.8")),
            ["10.0.0.1", "10.0.0.3"]
        );
        let nobody = views(vec![view(&["10.0.0.9"], &[])]);
        let packet = question("example.com.", RecordType::A).to_vec().unwrap();
        match answer(&packet, address("10.0.0.8"), Transport::Udp, &nobody) {
            Verdict::Unknown(reply) => {
                let code = Message::from_vec(&reply).unwrap().metadata.response_code;
                assert_eq!(code, ResponseCode::Refused);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_has_resolvers_of_his_own_is_refused_what_is_no_service() {
        let mut own = view(&[], &[("web", &["10.0.0.1"])]);
        own.refuses_others = true;
        let views = views(vec![own]);
        for (name, expected) in [
            ("web", ResponseCode::NoError),
            ("other", ResponseCode::Refused),
            ("example.com.", ResponseCode::Refused),
        ] {
            let packet = question(name, RecordType::A).to_vec().unwrap();
            match answer(&packet, address("10.0.0.8"), Transport::Udp, &views) {
                Verdict::Reply(reply) => {
                    let code = Message::from_vec(&reply).unwrap().metadata.response_code;
                    assert_eq!(code, expected, "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_answer_is_ours_is_short_lived_and_says_what_was_asked() {
        let web = question("wEb.", RecordType::A);
        let reply = asked(&web, "10.0.0.8");
        assert_eq!(reply.metadata.id, web.metadata.id);
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
        assert!(reply.metadata.recursion_desired && !reply.metadata.truncation);
        assert!(reply.answers.iter().all(|record| record.ttl == 1));
        assert!(reply.queries[0].name.eq_case(&web.queries[0].name));
        assert!(reply.edns.is_none());
    }

    #[test]
    fn each_answer_begins_with_another_address() {
        let (views, packet) = (shop(), question("web", RecordType::A).to_vec().unwrap());
        let firsts: Vec<_> = (0..4)
            .map(
                |_| match answer(&packet, address("10.0.0.8"), Transport::Udp, &views) {
                    Verdict::Reply(reply) => addresses(&Message::from_vec(&reply).unwrap()),
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        let (one, other) = (["10.0.0.1", "10.0.0.3"], ["10.0.0.3", "10.0.0.1"]);
        assert_eq!(firsts, [one, other, one, other]);
    }

    #[test]
    fn a_known_name_has_no_data_of_another_type() {
        for (name, kind) in [
            ("web", RecordType::HTTPS),
            ("web", RecordType::Unknown(65_280)),
            ("db.internal", RecordType::AAAA),
            ("gone", RecordType::A),
        ] {
            let reply = asked(&question(name, kind), "10.0.0.8");
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(reply.answers.is_empty(), "{name}");
        }
        let six = asked(&question("WEB", RecordType::AAAA), "10.0.0.8");
        assert_eq!(addresses(&six), ["fd00::1"]);
        let any = asked(&question("web", RecordType::ANY), "10.0.0.8");
        assert_eq!(any.answers.len(), 3);
    }

    #[test]
    fn an_unknown_name_is_refused_at_once_or_asked_of_others_when_it_has_a_dot() {
        let unknown = asked(&question("wub", RecordType::A), "10.0.0.8");
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
        let forward = verdict(
            &question("example.com", RecordType::A),
            "10.0.0.8",
            Transport::Udp,
        );
        assert!(matches!(forward, Verdict::Forward(_)));
    }

    #[test]
    fn questions_that_are_none_of_ours_are_told_so() {
        let code = |question: &Message| asked(question, "10.0.0.8").metadata.response_code;
        let mut update = question("web", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert_eq!(code(&update), ResponseCode::NotImp);
        let mut chaos = question("web", RecordType::TXT);
        chaos.queries[0].query_class = DNSClass::CH;
        assert_eq!(code(&chaos), ResponseCode::Refused);
        assert_eq!(code(&question(".", RecordType::NS)), ResponseCode::Refused);
        assert_eq!(
            code(&Message::new(
                rand::random(),
                MessageType::Query,
                OpCode::Query
            )),
            ResponseCode::FormErr
        );
        let mut newer = question("web", RecordType::A);
        let mut edns = Edns::new();
        edns.set_version(1);
        newer.set_edns(edns);
        // The number has two names.
        assert_eq!(u16::from(code(&newer)), u16::from(ResponseCode::BADVERS));
        let response = question("web", RecordType::A).into_response();
        assert!(matches!(
            verdict(&response, "10.0.0.8", Transport::Udp),
            Verdict::Drop
        ));
    }

    #[test]
    fn an_answer_is_never_larger_than_the_client_takes() {
        let many: Vec<String> = (0..=255).map(|n| format!("10.1.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let views = views(vec![view(&[], &[("web", &many)])]);
        let sized = |payload: Option<u16>, transport| {
            let mut web = question("web", RecordType::A);
            if let Some(payload) = payload {
                let mut edns = Edns::new();
                edns.set_max_payload(payload);
                web.set_edns(edns);
            }
            match answer(&web.to_vec().unwrap(), address("::1"), transport, &views) {
                Verdict::Reply(reply) => {
                    let parsed = Message::from_vec(&reply).unwrap();
                    assert_eq!(parsed.edns.is_some(), payload.is_some());
                    let (length, count) = (reply.len(), parsed.answers.len());
                    (length, count, parsed.metadata.truncation)
                }
                other => panic!("{other:?}"),
            }
        };
        let (length, count, truncated) = sized(None, Transport::Udp);
        assert!(
            length <= 512 && count >= 29 && truncated,
            "{length} {count}"
        );
        let (length, count, truncated) = sized(Some(65_535), Transport::Udp);
        assert!(length <= 1_232 && count >= 74 && truncated);
        let (_, count, truncated) = sized(None, Transport::Tcp);
        assert!(count == 256 && !truncated);
    }

    proptest! {
        #[test]
        fn no_packet_is_too_broken(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            let verdict = answer(&packet, address("10.0.0.8"), Transport::Udp, &shop());
            if let Verdict::Reply(reply) = verdict {
                prop_assert!(reply.len() <= usize::from(MAX_UDP));
                prop_assert_eq!(reply.get(..2), packet.get(..2));
            }
        }

        #[test]
        fn no_question_is_too_damaged(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            length in 0..60_usize,
        ) {
            let mut packet = question("db.internal", RecordType::A).to_vec().unwrap();
            for (at, byte) in changes {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            packet.truncate(length);
            let verdict = answer(&packet, address("10.0.0.8"), Transport::Udp, &shop());
            if let Verdict::Forward(forward) = verdict {
                prop_assert!(forward.question_end <= packet.len());
            }
        }
    }
}
