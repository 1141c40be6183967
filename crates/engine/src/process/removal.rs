//! Removes instances and whole environments. Not releases alone ([`super::release`]).

use std::fs;
use std::io;
use std::path::Path;

use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::observation::InstanceState;
use towpath_model::port::{PortError, Volumes};

use super::shared::{Shared, failed};
use super::{layout, plan, sweep, tree};
use crate::secret_place;

/// Logs of removed instances that are kept of each service.
const OLD_LOGS: usize = 20;

impl Shared {
    /// Removes an instance that ended. Its log stays for a while.
    pub(super) fn remove(&self, id: &InstanceId) -> Result<(), PortError> {
        match self.look(id, |instance| {
            matches!(instance.state, InstanceState::Exited(_))
        }) {
            None => return Ok(()),
            Some(false) => return Err(PortError::Refused(format!("{id} still runs"))),
            Some(true) => {}
        }
        self.remove_files(id)
            .map_err(|error| failed(format!("remove {id}"), &error))?;
        self.forget(id);
        Ok(())
    }

    fn remove_files(&self, id: &InstanceId) -> io::Result<()> {
        let directory = self.layout.instance(id);
        secret_place::remove(&plan::secrets_of(self, id))?;
        self.keep_log(id, &directory)?;
        // Without this file the rest is taken for a start that was never written down.
        match fs::remove_file(directory.join(layout::STATE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => tree::remove(&directory),
        }
    }

    /// Keeps the log in a directory that is about to be removed.
    pub(super) fn keep_log(&self, id: &InstanceId, directory: &Path) -> io::Result<()> {
        let old_log = self.layout.old_log(id);
        let Some(parent) = old_log.parent() else {
            return Ok(());
        };
        fs::create_dir_all(parent)?;
        tree::remove(&old_log)?;
        match fs::rename(directory.join(layout::LOG), &old_log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.forget_old_logs(id),
        }
    }

    fn forget_old_logs(&self, id: &InstanceId) -> io::Result<()> {
        let directory = layout::old_logs(&self.layout.environment(&id.environment));
        let mut numbers: Vec<u32> = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let number = name
                .rsplit_once('-')
                .filter(|(service, _)| *service == id.service.as_str());
            numbers.extend(number.and_then(|(_, number)| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        let surplus = numbers.len().saturating_sub(OLD_LOGS);
        for number in numbers.iter().take(surplus) {
            tree::remove(&directory.join(format!("{}-{number}", id.service)))?;
        }
        Ok(())
    }

    /// Removes everything of an environment in which nothing runs, and proves that nothing does.
    /// Nothing of it is being built any more.
    pub(super) fn destroy(&self, id: &EnvironmentId, volumes: Volumes) -> Result<(), PortError> {
        let attempted = || format!("destroy {id}");
        let instances: Vec<InstanceId> = {
            let known = self.lock();
            let environment = known.get(id);
            let instances = environment.into_iter().flat_map(|known| &known.instances);
            let running = instances
                .clone()
                .find(|(_, instance)| !matches!(instance.state, InstanceState::Exited(_)));
            if let Some((running, _)) = running {
                return Err(PortError::Refused(format!("{running} still runs")));
            }
            instances.map(|(id, _)| id.clone()).collect()
        };
        self.kill_strays(id)
            .map_err(|error| failed(attempted(), &error))?;
        for instance in &instances {
            secret_place::remove(&plan::secrets_of(self, instance))
                .map_err(|error| failed(attempted(), &error))?;
        }
        tree::remove(&self.layout.environment(id)).map_err(|error| failed(attempted(), &error))?;
        if volumes == Volumes::Delete {
            let directory = self.layout.volumes(id);
            tree::remove(&directory).map_err(|error| failed(attempted(), &error))?;
        }
        self.lock().remove(id);
        self.tell(id);
        Ok(())
    }

    /// Kills every process of this data directory's environment that should not be there: none
    /// ever is, unless a supervisor and the control plane were killed together.
    fn kill_strays(&self, id: &EnvironmentId) -> io::Result<()> {
        let own = format!("{}/{id}/", self.data_id);
        let strays = sweep::find(|mark| mark.starts_with(&own), None);
        if !strays.is_empty() {
            tracing::warn!(environment = %id, count = strays.len(), "strays are killed");
        }
        sweep::kill_all(|mark| mark.starts_with(&own), None)
    }
}
