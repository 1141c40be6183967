//! Names of services over real sockets: who is told what, what moves with the table, and what is
//! asked of others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use towpath_model::routing::{NameServer, RouteTable, View};
use towpath_router::Resolvers;

use crate::support::router::TestRouter;
use crate::support::{PATIENCE, eventually, free_address};

const CANDIDATE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STABLE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

fn view(clients: &[Ipv4Addr], names: &[(&str, &[u8])]) -> View {
    let address = |&last: &u8| IpAddr::from([10, 0, 0, last]);
    View {
        clients: clients.iter().map(|&client| client.into()).collect(),
        names: names
            .iter()
            .map(|(name, all)| ((*name).to_owned(), all.iter().map(address).collect()))
            .collect(),
        refuses_others: false,
    }
}

fn table(generation: u64, server: SocketAddr, views: Vec<View>) -> RouteTable {
    let environment = "shop/production".parse().unwrap();
    RouteTable {
        generation,
        names: [(server, NameServer { environment, views })].into(),
        ..RouteTable::default()
    }
}

fn question(name: &str) -> Message {
    let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    question
}

fn addresses(reply: &Message) -> BTreeSet<String> {
    let data = reply.answers.iter().filter_map(|one| one.data.ip_addr());
    data.map(|address| address.to_string()).collect()
}

/// Sends datagrams from `client` and returns the first answer to the last of them.
async fn ask_raw(server: SocketAddr, client: Ipv4Addr, packets: &[Vec<u8>]) -> Message {
    let socket = UdpSocket::bind((client, 0)).await.unwrap();
    for packet in packets {
        socket.send_to(packet, server).await.unwrap();
    }
    let mut reply = vec![0; 2_048];
    let id = packets.last().unwrap().get(..2).unwrap();
    loop {
        let received = tokio::time::timeout(PATIENCE, socket.recv(&mut reply)).await;
        let length = received.expect("no answer").unwrap();
        if reply.get(..2) == Some(id) {
            return Message::from_vec(reply.get(..length).unwrap()).unwrap();
        }
    }
}

async fn ask(server: SocketAddr, client: Ipv4Addr, name: &str) -> Message {
    ask_raw(server, client, &[question(name).to_vec().unwrap()]).await
}

async fn exchange(io: &mut TcpStream, question: &Message) -> Message {
    let packet = question.to_vec().unwrap();
    let length = u16::try_from(packet.len()).unwrap();
    io.write_u16(length).await.unwrap();
    io.write_all(&packet).await.unwrap();
    let read = async {
        let mut reply = vec![0; usize::from(io.read_u16().await.unwrap())];
        io.read_exact(&mut reply).await.unwrap();
        Message::from_vec(&reply).unwrap()
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("no answer")
}

async fn ask_over_tcp(server: SocketAddr, client: Ipv4Addr, names: &[&str]) -> Vec<Message> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    let mut io = socket.connect(server).await.unwrap();
    let mut replies = Vec::new();
    for name in names {
        replies.push(exchange(&mut io, &question(name)).await);
    }
    replies
}

async fn router_asking(resolvers: Vec<SocketAddr>) -> TestRouter {
    TestRouter::start_with(|config| config.resolvers = Resolvers::Addresses(resolvers)).await
}

#[tokio::test]
async fn the_answer_depends_on_who_asks_and_moves_with_the_table() {
    let (router, server) = (TestRouter::start().await, free_address());
    let candidate = view(&[CANDIDATE], &[("web", &[2])]);
    let stable = view(&[], &[("web", &[1])]);
    router.put(&table(1, server, vec![candidate, stable])).await;
    let told = |reply: &Message| addresses(reply).into_iter().collect::<Vec<_>>();
    assert_eq!(told(&ask(server, CANDIDATE, "web").await), ["10.0.0.2"]);
    assert_eq!(told(&ask(server, STABLE, "WEB.").await), ["10.0.0.1"]);
    for (client, address) in [(CANDIDATE, "10.0.0.2"), (STABLE, "10.0.0.1")] {
        let replies = ask_over_tcp(server, client, &["web", "web"]).await;
        assert!(replies.iter().all(|reply| told(reply) == [address]));
    }

    let everybody = view(&[], &[("web", &[2])]);
    router.put(&table(2, server, vec![everybody])).await;
    assert_eq!(told(&ask(server, STABLE, "web").await), ["10.0.0.2"]);
}

#[tokio::test]
async fn who_is_in_no_view_waits_for_the_table_that_has_him() {
    let (router, server) = (TestRouter::start().await, free_address());
    let stable = view(&[STABLE], &[("web", &[1])]);
    router.put(&table(1, server, vec![stable.clone()])).await;
    let mut asked = JoinSet::new();
    asked.spawn(async move { ask(server, CANDIDATE, "web").await });
    asked.spawn(async move { ask_over_tcp(server, CANDIDATE, &["web"]).await.remove(0) });
    // Others are answered meanwhile.
    assert_eq!(addresses(&ask(server, STABLE, "web").await).len(), 1);
    let candidate = view(&[CANDIDATE], &[("web", &[2])]);
    router.put(&table(2, server, vec![stable, candidate])).await;
    while let Some(reply) = asked.join_next().await {
        assert_eq!(addresses(&reply.unwrap()), ["10.0.0.2".to_owned()].into());
    }
}

#[tokio::test]
async fn names_are_answered_after_a_restart_without_a_control_plane() {
    let (mut router, server) = (TestRouter::start().await, free_address());
    let views = vec![view(&[], &[("web", &[1])])];
    router.put(&table(4, server, views)).await;
    router.start_again().await;
    let reply = ask(server, STABLE, "web").await;
    assert_eq!(addresses(&reply), ["10.0.0.1".to_owned()].into());
}

#[tokio::test]
async fn a_server_that_cannot_be_opened_is_a_fault_until_it_can() {
    let blocker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = blocker.local_addr().unwrap();
    let router = TestRouter::start().await;
    let views = vec![view(&[], &[("web", &[1])])];
    let report = router.put(&table(1, server, views)).await;
    let faults: Vec<_> = report.faults.iter().map(|fault| fault.address).collect();
    assert_eq!((report.generation, faults), (1, vec![server]));
    assert!(
        TcpStream::connect(server).await.is_err(),
        "half of a server is open"
    );
    drop(blocker);
    eventually("the server is open", || async {
        router.report().await.faults.is_empty()
    })
    .await;
    assert_eq!(addresses(&ask(server, STABLE, "web").await).len(), 1);

    router
        .put(&RouteTable {
            generation: 2,
            ..RouteTable::default()
        })
        .await;
    assert!(UdpSocket::bind(server).await.is_ok(), "it is still open");
    assert!(TcpListener::bind(server).await.is_ok(), "it is still open");
}

#[tokio::test]
async fn broken_packets_are_not_answered_and_do_no_harm() {
    let (router, server) = (TestRouter::start().await, free_address());
    let views = vec![view(&[], &[("web", &[1])])];
    router.put(&table(1, server, views)).await;
    let whole = question("web").to_vec().unwrap();
    let mut packets = vec![Vec::new(), vec![0xff; 4_000], whole[..11].to_vec()];
    // A name that refers to itself, under another id.
    let mut circle = [&whole[..12], b"\xc0\x0c\x00\x01\x00\x01"].concat();
    circle[0] = !circle[0];
    packets.push(circle);
    packets.push(whole);
    let reply = ask_raw(server, STABLE, &packets).await;
    assert_eq!(addresses(&reply).len(), 1);
}

#[tokio::test]
async fn no_answer_is_lost_or_mixed_while_tables_are_swapped() {
    let (router, server) = (TestRouter::start().await, free_address());
    let side = |side: u64| match side % 2 {
        0 => [1_u8, 2],
        _ => [3, 4],
    };
    let put = |n: u64| table(n, server, vec![view(&[], &[("web", &side(n))])]);
    router.put(&put(1)).await;
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let reply = ask(server, STABLE, "web").await;
                let told: Vec<_> = addresses(&reply).into_iter().collect();
                let whole = told == ["10.0.0.1", "10.0.0.2"] || told == ["10.0.0.3", "10.0.0.4"];
                assert!(whole, "{told:?}");
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for generation in 2..30 {
        let before = answered.load(Ordering::SeqCst);
        router.put(&put(generation)).await;
        eventually("answers go on", || async {
            answered.load(Ordering::SeqCst) > before + 20
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// A resolver whose answers over UDP are as `whole` says, and over TCP always whole.
async fn resolver(whole: bool) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut packet = vec![0; 2_048];
        loop {
            let (length, client) = udp.recv_from(&mut packet).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let reply = resolved(packet.get(..length).unwrap(), whole);
            udp.send_to(&reply, client).await.unwrap();
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut io, _) = tcp.accept().await.unwrap();
            let mut packet = vec![0; usize::from(io.read_u16().await.unwrap())];
            io.read_exact(&mut packet).await.unwrap();
            let reply = resolved(&packet, true);
            io.write_u16(u16::try_from(reply.len()).unwrap())
                .await
                .unwrap();
            io.write_all(&reply).await.unwrap();
        }
    });
    (address, asked, tasks)
}

fn resolved(packet: &[u8], whole: bool) -> Vec<u8> {
    let mut reply = Message::from_vec(packet).unwrap().into_response();
    if whole {
        let name = reply.queries.first().unwrap().name.clone();
        for last in 1..=60 {
            let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
            reply.add_answer(Record::from_rdata(name.clone(), 60, data));
        }
    } else {
        reply.metadata.truncation = true;
    }
    reply.to_vec().unwrap()
}

#[tokio::test]
async fn a_name_of_others_is_asked_of_a_resolver_over_udp_and_then_over_tcp() {
    let (whole, asked, _tasks) = resolver(true).await;
    let (cut, _, _more) = resolver(false).await;
    for upstream in [whole, cut] {
        let (router, server) = (router_asking(vec![upstream]).await, free_address());
        let views = vec![view(&[STABLE], &[("web", &[1])])];
        router.put(&table(1, server, views)).await;
        let replies = ask_over_tcp(server, STABLE, &["example.com", "web"]).await;
        let sizes: Vec<_> = replies.iter().map(|reply| reply.answers.len()).collect();
        assert_eq!(sizes, [60, 1]);
        // Sixty addresses do not fit into an answer over UDP: the client is told to use TCP.
        let small = ask(server, STABLE, "example.com").await;
        assert!(small.metadata.truncation && small.answers.is_empty());
        // Somebody who is told no names is told nothing of others either.
        let refused = ask(server, CANDIDATE, "example.com").await;
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_question_fails_when_no_resolver_answers_and_the_router_never_asks_itself() {
    let server = free_address();
    let (closed, (good, asked, _tasks)) = (free_address(), resolver(true).await);
    let router = router_asking(vec![server, closed]).await;
    let views = vec![view(&[], &[("web", &[1])])];
    router.put(&table(1, server, views.clone())).await;
    let reply = ask(server, STABLE, "example.com").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(reply.queries.len(), 1);
    let unknown = ask(server, STABLE, "example").await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);

    let (router, server) = (router_asking(vec![closed, good]).await, free_address());
    router.put(&table(1, server, views)).await;
    let replies = ask_over_tcp(server, STABLE, &["example.com"]).await;
    assert_eq!(replies.first().unwrap().answers.len(), 60);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
