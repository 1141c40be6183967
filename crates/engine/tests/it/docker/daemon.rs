//! The Docker Engine that the tests use, and the image that they run. Not tests.

use std::collections::HashMap;
use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder, RemoveVolumeOptions,
};
use futures_util::StreamExt as _;
use towpath_model::id::Digest;

/// The image of the tests: a shell and what belongs to it, from nothing.
pub(crate) const IMAGE: &str = "towpath-test/box:1";

/// Returns where the tests find Docker.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests are told by the environment which Docker to use"
)]
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// Connects to Docker, which has to be there.
pub(crate) async fn docker(host: &str) -> Docker {
    let docker = Docker::connect_with_host(host);
    let docker = match docker {
        Ok(docker) => docker.negotiate_version().await,
        Err(error) => Err(error),
    };
    docker.unwrap_or_else(|error| {
        panic!("no Docker at {host}, which scripts/test starts: {error}");
    })
}

/// Makes the image of the tests, unless it is there.
pub(crate) async fn image(docker: &Docker) {
    if docker.inspect_image(IMAGE).await.is_ok() {
        return;
    }
    let mut program = ["/usr/bin/busybox", "/bin/busybox"].iter().map(Path::new);
    let program = program
        .find_map(|path| std::fs::read(path).ok())
        .expect("Debian's busybox-static is installed");
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n";
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content, mode) in [
        ("Dockerfile", dockerfile.as_bytes(), 0o644),
        ("busybox", &program, 0o755),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(mode);
        tar.append_data(&mut header, name, content).unwrap();
    }
    let body = bollard::body_full(tar.into_inner().unwrap().into());
    let options = BuildImageOptionsBuilder::default()
        .t(IMAGE)
        .rm(true)
        .build();
    let mut steps = docker.build_image(options, None, Some(body));
    while let Some(step) = steps.next().await {
        step.unwrap();
    }
}

/// Returns how the engine labels what it makes for a data directory.
pub(crate) fn data_id(data: &Path) -> String {
    let path = data.canonicalize().unwrap();
    Digest::of(path.to_str().unwrap().as_bytes())
        .short()
        .to_owned()
}

/// Removes everything that carries the labels of a data directory, whatever failed.
pub(crate) fn clean(host: &str, data_id: &str, app: &str) {
    let host = host.to_owned();
    let label = format!("towpath.data={data_id}");
    let repositories = format!("towpath/{app}-*");
    let cleaning = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(remove_all(&host, &label, &repositories));
    });
    cleaning.join().unwrap();
}

async fn remove_all(host: &str, label: &str, repositories: &str) {
    let docker = docker(host).await;
    let filter = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filter);
    let containers = docker.list_containers(Some(options.build())).await;
    for container in containers.unwrap_or_default() {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true);
        let name = container.id.unwrap();
        docker
            .remove_container(&name, Some(options.build()))
            .await
            .ok();
    }
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filter)
        .build();
    let networks = docker.list_networks(Some(options)).await;
    for network in networks.unwrap_or_default() {
        docker.remove_network(&network.id.unwrap()).await.ok();
    }
    let options = ListVolumesOptionsBuilder::default()
        .filters(&filter)
        .build();
    let volumes = docker.list_volumes(Some(options)).await;
    for volume in volumes
        .ok()
        .and_then(|found| found.volumes)
        .unwrap_or_default()
    {
        let force = None::<RemoveVolumeOptions>;
        docker.remove_volume(&volume.name, force).await.ok();
    }
    let filter = HashMap::from([("reference".to_owned(), vec![repositories.to_owned()])]);
    let options = ListImagesOptionsBuilder::default().filters(&filter).build();
    let images = docker.list_images(Some(options)).await;
    for tag in images
        .unwrap_or_default()
        .into_iter()
        .flat_map(|image| image.repo_tags)
    {
        let options = RemoveImageOptionsBuilder::default().build();
        docker.remove_image(&tag, Some(options), None).await.ok();
    }
}
