//! Ports given to services.

use std::collections::BTreeMap;

use serde_json::json;
use towpath_model::id::ServiceName;
use towpath_store::Error;

use crate::support::{Directory, at, production, shop, staging};

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_service_keeps_its_port_across_restarts_and_whatever_is_free_then() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let web = service("web");
    let first = store
        .allocate_port(&production(), &web, 9000..=9010, |port| port > 9001)
        .await
        .unwrap();
    assert_eq!(first, 9002);
    drop(store);
    let store = directory.open().await;
    let again = store
        .allocate_port(&production(), &web, 9005..=9010, |_| false)
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(
        store.ports(&production()).await.unwrap(),
        BTreeMap::from([(web, first)])
    );
}

#[tokio::test]
async fn no_two_services_of_a_data_directory_have_the_same_port() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let mut ports = Vec::new();
    for environment in [production(), staging()] {
        for name in ["web", "api"] {
            let port = store
                .allocate_port(&environment, &service(name), 9000..=9003, |_| true)
                .await
                .unwrap();
            ports.push(port);
        }
    }
    assert_eq!(ports, [9000, 9001, 9002, 9003]);
    let error = store
        .allocate_port(&staging(), &service("late"), 9000..=9003, |_| true)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoPort { .. }));
    assert_eq!(error.to_string(), "no free port in 9000-9003");
}

#[tokio::test]
async fn the_ports_of_a_deleted_environment_are_free_again() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let web = service("web");
    let range = 9000..=9000;
    store
        .allocate_port(&production(), &web, range.clone(), |_| true)
        .await
        .unwrap();
    store
        .delete_environment(&production(), 1, &[])
        .await
        .unwrap();
    assert!(store.app(&shop()).await.unwrap().is_some());
    store
        .create_environment(&staging(), "process", &json!(0), at(0), &[])
        .await
        .unwrap();
    let port = store
        .allocate_port(&staging(), &web, range, |_| true)
        .await
        .unwrap();
    assert_eq!(port, 9000);
}

#[tokio::test]
async fn a_port_in_place_of_a_published_one_is_no_service_s_and_stays() {
    let directory = Directory::new();
    let store = directory.with_shop().await;
    let range = 9000..=9003;
    let (here, there, web) = (production(), staging(), service("web"));
    let of_service = store.allocate_port(&here, &web, range.clone(), |_| true);
    assert_eq!(of_service.await.unwrap(), 9000);
    for _ in 0..2 {
        let own = store.allocate_port_in_place_of(&here, 8080, range.clone(), |_| true);
        assert_eq!(own.await.unwrap(), 9001);
    }
    let other = store.allocate_port_in_place_of(&there, 8080, range, |_| true);
    assert_eq!(other.await.unwrap(), 9002);
    assert_eq!(
        store.ports(&here).await.unwrap(),
        BTreeMap::from([(web, 9000)])
    );
}
