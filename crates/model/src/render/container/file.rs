//! Secrets and configs of a container: files at the paths that Compose gives them.

use std::collections::BTreeMap;

use towpath_compose::model::FileMount;
use towpath_compose::source::Span;

use crate::container::FileOwner;
use crate::id::SecretName;
use crate::render::context::{Context, Subject};
use crate::render::draft::SecretUse;
use crate::render::mount::{config_content, secret_variables};
use crate::workload::ConfigMount;

const SECRETS: &str = "/run/secrets/";

/// Returns the secrets that a container is given: as files those of Compose, as variables those of
/// the delivery file.
pub(super) fn secrets(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    owners: &mut BTreeMap<String, FileOwner>,
) -> Vec<SecretUse> {
    let mut uses = Vec::new();
    for (index, mount) in subject.service.secrets.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["secrets", &index]));
        let target = mount.target.as_deref().unwrap_or(&mount.source);
        let file = target.strip_prefix(SECRETS).unwrap_or(target);
        let path = if file.starts_with('/') {
            file.to_owned()
        } else {
            format!("{SECRETS}{file}")
        };
        if let Some(owner) = owner(context, mount, span.as_ref()) {
            owners.insert(path, owner);
        }
        match SecretName::new(mount.source.as_str()) {
            Ok(secret) => uses.push(SecretUse {
                secret,
                file: Some(file.to_owned()),
                variable: None,
            }),
            Err(invalid) => context.refuse("bad-name", invalid.to_string(), span, invalid.rule),
        }
    }
    uses.extend(secret_variables(subject));
    uses
}

/// Returns the configs that a container is given, with their content.
pub(super) fn configs(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    owners: &mut BTreeMap<String, FileOwner>,
) -> Vec<ConfigMount> {
    let mut configs = Vec::new();
    for (index, mount) in subject.service.configs.iter().enumerate() {
        let index = format!("[{index}]");
        let span = context.compose(&subject.at(&["configs", &index]));
        let target = mount.target.as_deref().unwrap_or(&mount.source);
        let target = format!("/{}", target.trim_start_matches('/'));
        if let Some(owner) = owner(context, mount, span.as_ref()) {
            owners.insert(target.clone(), owner);
        }
        let text = config_content(context, mount);
        configs.extend(text.map(|text| ConfigMount {
            name: mount.source.clone(),
            target,
            content: text,
        }));
    }
    configs
}

fn owner(context: &mut Context<'_>, mount: &FileMount, span: Option<&Span>) -> Option<FileOwner> {
    let mut number = |what: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let number = text.parse::<u32>();
        if number.is_err() {
            let message = format!("the {what} `{text}` of `{}` is not a number", mount.source);
            let help = "write the number: names are the image's own";
            context.refuse("bad-value", message, span.cloned(), help);
        }
        number.ok()
    };
    let owner = FileOwner {
        uid: number("uid", &mount.uid),
        gid: number("gid", &mount.gid),
        mode: mount.mode.and_then(|mode| u32::try_from(mode.0).ok()),
    };
    (owner != FileOwner::default()).then_some(owner)
}
