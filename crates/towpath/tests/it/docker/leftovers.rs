//! What an app leaves on Docker when its test ends, however it does. Not what Towpath removes.

use super::cli::Docker;

/// Removes what is left of an app on Docker: containers, networks, volumes and built images.
#[derive(Debug)]
pub(crate) struct Leftovers {
    app: String,
    docker: Docker,
}

impl Leftovers {
    /// Sees to an app on a Docker Engine from now on. What an earlier test left, which was ended from
    /// outside, is removed at once.
    pub(crate) fn of(app: &str, docker: &Docker) -> Self {
        let leftovers = Self {
            app: app.to_owned(),
            docker: docker.clone(),
        };
        leftovers.remove();
        leftovers
    }

    fn remove(&self) {
        let line = format!(
            "docker ps -aq --filter label=towpath.app={0} | xargs -r docker rm -fv; \
             for kind in network volume; do \
               docker $kind ls -q --filter label=towpath.app={0} | xargs -r docker $kind rm; \
             done; \
             docker images --filter 'reference=towpath/{0}-*' --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | \
               xargs -r docker rmi -f",
            self.app
        );
        let mut command = std::process::Command::new("sh");
        if let Some(host) = &self.docker.0 {
            command.env("DOCKER_HOST", host);
        }
        // What cannot be removed fails no test by itself.
        drop(command.args(["-c", &line]).output());
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.remove();
    }
}
