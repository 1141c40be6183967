//! `extends`: a service on top of another, from the same file or from one that is read for it.

use super::include::refuse_remote;
use super::{Context, Loader};
use crate::canonical::canonicalise;
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::merge::{merge, merge_at};
use crate::paths::{absolute, parent};
use crate::reset::Resets;
use crate::tree::Path;
use crate::unicity::enforce;
use crate::yaml::{Map, Node, Value};

/// The longest chain of services that extend one another.
const CHAIN: usize = 100;

/// A file whose services may be extended.
struct Scope<'s> {
    file: &'s str,
    resets: &'s Resets,
}

impl Loader<'_> {
    /// Resolves `extends` in all services of `document`, from the file at `file`.
    pub(super) fn extend(
        &self,
        document: &mut Node,
        file: &str,
        resets: &Resets,
        context: Context<'_>,
    ) -> Result<(), Diagnostics> {
        let Some(services) = document
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
        else {
            return Ok(());
        };
        let Some(services) = services.node.as_map_mut() else {
            return Err(
                Diagnostic::error("wrong-type", "`services` has to be a map")
                    .at(&services.node.span)
                    .into(),
            );
        };
        let scope = Scope { file, resets };
        let names: Vec<String> = services.keys().cloned().collect();
        for name in names {
            self.extended_service(&name, services, &scope, context, &mut Vec::new())?;
        }
        Ok(())
    }

    /// Resolves one service in its place, and those that it extends.
    fn extended_service(
        &self,
        name: &str,
        services: &mut Map,
        scope: &Scope<'_>,
        context: Context<'_>,
        chain: &mut Vec<(String, String)>,
    ) -> Result<(), Diagnostics> {
        let Some(service) = services.get(name).map(|entry| &entry.node) else {
            return Ok(());
        };
        if service.is_null() {
            return Ok(());
        }
        let Some(map) = service.as_map() else {
            let kind = service.value.kind();
            let message = format!("service `{name}` has to be a map, but this is {kind}");
            return Err(Diagnostic::error("wrong-type", message)
                .at(&service.span)
                .into());
        };
        let Some(extends) = map.get("extends").map(|entry| entry.node.clone()) else {
            return Ok(());
        };
        let (base_name, file) = reference(&extends)?;
        push(chain, scope.file, name, &extends)?;
        let base = if let Some(place) = file {
            self.in_file(&base_name, &place, &extends, context, chain)?
        } else {
            if !services.contains_key(&base_name) {
                return Err(unknown(&base_name, services, scope.file, &extends));
            }
            self.extended_service(&base_name, services, scope, context, chain)?;
            services.get(&base_name).map(|entry| entry.node.clone())
        };
        chain.pop();
        let Some(mut base) = base.filter(|base| !base.is_null()) else {
            return Ok(());
        };
        self.count_copy(&base, &extends)?;
        scope.resets.apply_to(&mut base, &["services", name]);
        let Some(entry) = services.get_mut(name) else {
            return Ok(());
        };
        let null = entry.node.here(Value::Null);
        let own = std::mem::replace(&mut entry.node, null);
        let span = own.span.clone();
        let mut merged = merge_at(base, own, &mut Path::of(&["services", "x"]))?;
        if let Some(map) = merged.as_map_mut() {
            map.shift_remove("extends");
        }
        merged.span = span;
        entry.node = merged;
        Ok(())
    }

    /// Refuses when all that was copied from extended services is too much.
    fn count_copy(&self, base: &Node, extends: &Node) -> Result<(), Diagnostics> {
        let Some(left) = self.copies.get().checked_sub(base.size()) else {
            let message = "the services that are extended are too large together";
            return Err(Diagnostic::error("too-large", message)
                .at(&extends.span)
                .into());
        };
        self.copies.set(left);
        Ok(())
    }

    /// Returns a service of another file, with what it extends resolved.
    fn in_file(
        &self,
        name: &str,
        place: &Node,
        extends: &Node,
        context: Context<'_>,
        chain: &mut Vec<(String, String)>,
    ) -> Result<Option<Node>, Diagnostics> {
        let path = place.as_text().unwrap_or_default();
        refuse_remote(path, place)?;
        let file = absolute(context.directory, path);
        self.require(&file, place)?;
        let key = (context.scope, file.clone());
        // It is taken out while a service in it is resolved, and put back with the service resolved.
        let known = self.extended.borrow_mut().remove(&key);
        let (mut root, resets) = match known {
            Some(known) => known,
            None => self.base_file(&file, context)?,
        };
        let found = self.of_file(name, &mut root, &resets, &file, extends, context, chain);
        self.extended.borrow_mut().insert(key, (root, resets));
        found
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it is the second half of one function"
    )]
    fn of_file(
        &self,
        name: &str,
        root: &mut Node,
        resets: &Resets,
        file: &str,
        extends: &Node,
        context: Context<'_>,
        chain: &mut Vec<(String, String)>,
    ) -> Result<Option<Node>, Diagnostics> {
        let services = root
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .and_then(|entry| entry.node.as_map_mut());
        let Some(services) = services else {
            let message = format!("service `{name}` cannot be extended: {file} has no services");
            return Err(Diagnostic::error("unknown-service", message)
                .at(&extends.span)
                .into());
        };
        if !services.contains_key(name) {
            return Err(unknown(name, services, file, extends));
        }
        let scope = Scope { file, resets };
        self.extended_service(name, services, &scope, context, chain)?;
        Ok(services.get(name).map(|entry| entry.node.clone()))
    }

    /// Reads a file for its services: neither included files nor `extends` are resolved, and it is
    /// not checked, because only what is extended becomes a part of the project.
    fn base_file(&self, file: &str, context: Context<'_>) -> Result<(Node, Resets), Diagnostics> {
        let mut model: Option<Node> = None;
        let mut resets = Resets::default();
        for mut document in self.documents(file)? {
            resets = Resets::take(&mut document);
            self.interpolate(&mut document, context)?;
            if let Some(model) = &mut model {
                resets.apply(model);
            }
            let mut merged = match model.take() {
                Some(model) => merge(model, document)?,
                None => document,
            };
            enforce(&mut merged)?;
            canonicalise(&mut merged, self.strictness())?;
            enforce(&mut merged)?;
            model = Some(merged);
        }
        let Some(mut model) = model else {
            return Err(Diagnostic::error("empty-file", "the file is empty")
                .in_file(file)
                .into());
        };
        self.locate(
            &mut model,
            &parent(file),
            Some(context.directory),
            context.home(),
        )?;
        Ok((model, resets))
    }
}

/// A service's name and, where it is in another file, the path of that, which is a text.
type Reference = (String, Option<Node>);

fn reference(extends: &Node) -> Result<Reference, Diagnostics> {
    let refuse = |message: &str| -> Diagnostics {
        Diagnostic::error("invalid-extends", message)
            .at(&extends.span)
            .into()
    };
    if let Some(name) = extends.as_text() {
        return Ok((name.to_owned(), None));
    }
    if extends.as_map().is_none() {
        return Err(refuse("`extends` has to be a text or a map"));
    }
    let name = extends
        .get("service")
        .and_then(Node::as_text)
        .ok_or_else(|| refuse("`extends` needs `service`, which is a text"))?;
    let file = match extends.get("file") {
        None => None,
        Some(file) if file.is_null() => None,
        Some(file) if file.as_text().is_some() => Some(file.clone()),
        Some(_) => return Err(refuse("the `file` of `extends` has to be a text")),
    };
    Ok((name.to_owned(), file))
}

fn push(
    chain: &mut Vec<(String, String)>,
    file: &str,
    name: &str,
    extends: &Node,
) -> Result<(), Diagnostics> {
    let link = (file.to_owned(), name.to_owned());
    let is_cycle = chain.contains(&link);
    chain.push(link);
    if is_cycle {
        let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
        let message = format!("service `{name}` extends itself: {}", names.join(" -> "));
        return Err(Diagnostic::error("extends-cycle", message)
            .at(&extends.span)
            .into());
    }
    if chain.len() > CHAIN {
        let message = format!("services extend services more than {CHAIN} deep");
        return Err(Diagnostic::error("too-deep", message)
            .at(&extends.span)
            .into());
    }
    Ok(())
}

fn unknown(name: &str, services: &Map, file: &str, extends: &Node) -> Diagnostics {
    let message = format!("service `{name}` is not in {file}, so it cannot be extended");
    let refused = Diagnostic::error("unknown-service", message).at(&extends.span);
    match nearest(name, services.keys().map(String::as_str)) {
        Some(near) => refused.help(format!("did you mean `{near}`?")),
        None => refused,
    }
    .into()
}
