//! Capabilities that a handler requests.

use crate::host::TcpRule;
use crate::http::HttpRule;
use crate::push::PushRule;

/// What a handler requests in its manifest: `#[handler(needs(...))]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct Needs {
    /// Requests it makes.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub http: Vec<HttpRule>,
    /// Connections it opens.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub tcp: Vec<TcpRule>,
    /// Whether it uses SQL.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub sql: bool,
    /// Secrets it uses, by name.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub secrets: Vec<String>,
    /// Directories it uses, by guest path: `/data`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub files: Vec<String>,
    /// Handlers of other plugins that it pushes tasks to.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub push: Vec<PushRule>,
}

impl Needs {
    /// Whether it requests nothing, as most handlers do.
    pub fn is_empty(&self) -> bool {
        *self == Needs::default()
    }

    /// Whether it requests nothing but pushes, which take effect only after the attempt.
    pub fn are_pushes_only(&self) -> bool {
        let Needs {
            http,
            tcp,
            sql,
            secrets,
            files,
            push: _,
        } = self;
        http.is_empty() && tcp.is_empty() && !sql && secrets.is_empty() && files.is_empty()
    }
}

/// Merges the needs of several handlers of one plugin.
impl<'a> FromIterator<&'a Needs> for Needs {
    fn from_iter<I: IntoIterator<Item = &'a Needs>>(all: I) -> Self {
        fn add<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
            for item in more {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        }
        let mut sum = Needs::default();
        for needs in all {
            add(&mut sum.http, &needs.http);
            add(&mut sum.tcp, &needs.tcp);
            sum.sql |= needs.sql;
            add(&mut sum.secrets, &needs.secrets);
            add(&mut sum.files, &needs.files);
            add(&mut sum.push, &needs.push);
        }
        sum
    }
}

/// Whether a path can name a directory of a grant, as the guest sees it: `/data`. It begins with
/// `/`, does not end with one, and has no `.` or `..`.
pub fn is_guest_directory(path: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_control() || c == '\\')
    };
    let inside = path.strip_prefix('/').unwrap_or("");
    inside.split('/').all(is_part)
}
