//! Who an instance runs as: Compose's `user` looked up in the machine's files. Not the switch,
//! which is the supervisor's.

use std::fs;

use crate::shim::launch::Credentials;

/// Looks up `name`, `uid`, `user:group` or `uid:gid` in `/etc/passwd` and `/etc/group`.
/// Returns the home directory too, where the user has an entry.
pub(super) fn look_up(user: &str) -> Result<(Credentials, Option<String>), String> {
    let read =
        |path| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    resolve(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<(Credentials, Option<String>), String> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name)),
        None => (user, None),
    };
    let entry = passwd
        .lines()
        .filter_map(parse_user)
        .find(|entry| entry.name == name || name.parse() == Ok(entry.uid));
    let (login, uid, login_gid) = match (&entry, name.parse()) {
        (Some(entry), _) => (entry.name, entry.uid, entry.gid),
        (None, Ok(uid)) => ("", uid, uid),
        (None, Err(_)) => return Err(format!("there is no user `{name}` on this machine")),
    };
    let groups = || group.lines().filter_map(parse_group);
    let gid = match group_name {
        None => login_gid,
        Some(name) => groups()
            .find(|(known, _, _)| *known == name)
            .map(|(_, gid, _)| gid)
            .or_else(|| name.parse().ok())
            .ok_or_else(|| format!("there is no group `{name}` on this machine"))?,
    };
    let mut all = vec![gid];
    let is_member = |members: &str| !login.is_empty() && members.split(',').any(|m| m == login);
    let member = groups().filter(|(_, _, members)| is_member(members));
    all.extend(member.map(|(_, gid, _)| gid).filter(|&other| other != gid));
    let credentials = Credentials {
        uid,
        gid,
        groups: all,
    };
    Ok((credentials, entry.map(|entry| entry.home.to_owned())))
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn parse_user(line: &str) -> Option<User<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    Some(User {
        name: fields.first()?,
        uid: fields.get(2)?.parse().ok()?,
        gid: fields.get(3)?.parse().ok()?,
        home: fields.get(5)?,
    })
}

fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napps:x:1002:\nmedia:x:44:other,app\ndb:x:50:app\n";

    fn user(
        uid: u32,
        gid: u32,
        groups: &[u32],
        home: Option<&str>,
    ) -> (Credentials, Option<String>) {
        let credentials = Credentials {
            uid,
            gid,
            groups: groups.to_vec(),
        };
        (credentials, home.map(str::to_owned))
    }

    #[test]
    fn a_user_has_its_group_and_those_that_it_is_a_member_of() {
        let app = user(1001, 1002, &[1002, 44, 50], Some("/home/app"));
        assert_eq!(resolve("app", PASSWD, GROUP).unwrap(), app);
        assert_eq!(resolve("1001", PASSWD, GROUP).unwrap(), app);
        let db = user(1001, 50, &[50, 44], Some("/home/app"));
        assert_eq!(resolve("app:db", PASSWD, GROUP).unwrap(), db);
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        assert_eq!(
            resolve("7:8", PASSWD, GROUP).unwrap(),
            user(7, 8, &[8], None)
        );
        assert!(
            resolve("ghost", PASSWD, GROUP)
                .unwrap_err()
                .contains("no user `ghost`")
        );
        assert!(
            resolve("app:ghosts", PASSWD, GROUP)
                .unwrap_err()
                .contains("no group `ghosts`")
        );
    }
}
