//! Paths as texts, by the rules of Unix whatever machine this runs on. Not the file system.

/// Shortens a path: no `.`, no `..` that can be taken away, no doubled or trailing slash.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Joins a path to a base, and shortens the result.
pub(crate) fn join(base: &str, path: &str) -> String {
    clean(&format!("{base}/{path}"))
}

/// Makes a path absolute against `base`.
pub(crate) fn absolute(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        clean(path)
    } else {
        join(base, path)
    }
}

/// Writes an absolute path relative to the directory `base`.
pub(crate) fn relative(base: &str, path: &str) -> String {
    let (base, path) = (clean(base), clean(path));
    let parts = |text: &str| -> Vec<String> {
        let named = text.split('/').filter(|part| !part.is_empty());
        named.map(str::to_owned).collect()
    };
    let (base, path) = (parts(&base), parts(&path));
    let same = base.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", base.len() - same);
    let down = path.iter().skip(same).map(String::as_str);
    clean(&up.chain(down).collect::<Vec<_>>().join("/"))
}

/// Returns the directory that a path lies in.
pub(crate) fn parent(path: &str) -> String {
    match clean(path).rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    }
}

/// Returns the last part of a path.
pub(crate) fn name(path: &str) -> String {
    let path = clean(path);
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Puts the home directory in the place of a leading `~`.
pub(crate) fn expand_home(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => join(home, rest),
        _ => path.to_owned(),
    }
}

/// Says whether a path is absolute on Windows: `C:\x`, `C:/x` or `\\server\share`.
pub(crate) fn is_windows_absolute(path: &str) -> bool {
    let slash = |c: &u8| matches!(c, b'\\' | b'/');
    match path.as_bytes() {
        [drive, b':', third, ..] => drive.is_ascii_alphabetic() && slash(third),
        [first, second, rest @ ..] => slash(first) && slash(second) && !rest.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shortened_as_go_shortens_them() {
        for (path, short) in [
            ("", "."),
            ("a//b/", "a/b"),
            ("./a/../b", "b"),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("/", "/"),
            ("a/..", "."),
            ("/a/./b/..", "/a"),
        ] {
            assert_eq!(clean(path), short, "{path}");
        }
    }

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!(join("/w", "../x"), "/x");
        assert_eq!(absolute("/w", "/x/"), "/x");
        assert_eq!(
            (parent("/a/b").as_str(), parent("/a").as_str()),
            ("/a", "/")
        );
        assert_eq!(parent("a"), ".");
        for (base, path, expected) in [
            ("/w", "/w/d", "d"),
            ("/w/a", "/w/b/c", "../b/c"),
            ("/w", "/w", "."),
            ("/", "/a", "a"),
        ] {
            assert_eq!(relative(base, path), expected);
        }
        assert_eq!(name("/a/b/"), "b");
        assert_eq!(expand_home("~/x", Some("/home/u")), "/home/u/x");
        assert_eq!(expand_home("~/x", None), "~/x");
    }

    #[test]
    fn windows_paths_are_known() {
        for path in [r"C:\x", "c:/x", r"\\server\share", "//server/share"] {
            assert!(is_windows_absolute(path), "{path}");
        }
        for path in ["C:", "C:x", "/x", "x", "1:/x", ""] {
            assert!(!is_windows_absolute(path), "{path}");
        }
    }
}
