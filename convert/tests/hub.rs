//! Downloads from the hub, against a server of the tests' own that speaks its protocol.

#![cfg(feature = "hub")]

#[path = "common/hub.rs"]
mod server;

use rq_convert::{
    Certificates, ConvertError, DownloadProgress, Hub, HubCache, HubSettings, NoProgress, Proxies,
    Source, Token,
};
use server::{COMMIT, Fault, Files, Seen, Server, etag, git_sha1, proxy, sha256};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "someone/model";
const WEIGHTS: &str = "model.safetensors";
/// More than one read and one connection's worth.
const LARGE: usize = 3_000_000;

/// The files of a repository; nobody looks at their content here.
fn files() -> Files {
    let weights: Vec<u8> = (0..LARGE as u32)
        .flat_map(|i| [(i.wrapping_mul(7919) >> 8) as u8])
        .collect();
    let mut files = small(&[
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    ]);
    files.insert(WEIGHTS.into(), weights);
    files
}

fn small(names: &[&str]) -> Files {
    let file = |name: &&str| (name.to_string(), format!("this is {name}").into_bytes());
    names.iter().map(file).collect()
}

/// Someone with a cache of their own.
struct User {
    cache: TempDir,
    settings: HubSettings,
}

impl User {
    fn of(server: &Server) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let settings = HubSettings {
            endpoint: server.endpoint.clone(),
            cache: HubCache::at(cache.path()),
            token: None,
            offline: false,
            copies: false,
            certificates: None,
            proxies: Proxies::default(),
            timeout: Duration::from_secs(10),
            retries: 2,
            allowance: Duration::from_secs(600),
        };
        Self { cache, settings }
    }

    fn with_token(server: &Server, token: &str) -> Self {
        let mut user = Self::of(server);
        user.settings.token = Some(Token::new(token, "HF_TOKEN"));
        user
    }

    fn find(&self, name: &str) -> Result<Source, ConvertError> {
        self.find_at(name, None)
    }

    fn find_at(&self, name: &str, revision: Option<&str>) -> Result<Source, ConvertError> {
        Ok(Hub::new(self.settings.clone()).find(name, revision, &NoProgress)?)
    }

    /// An error, with the places that differ from run to run replaced.
    fn error(&self, name: &str) -> String {
        let text = self.find(name).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        let cache = self.cache.path().to_str().unwrap();
        text.replace(&self.settings.endpoint, "HUB")
            .replace(cache, "CACHE")
    }

    /// Every file of the cache: links with what they say, other files with their length.
    fn tree(&self) -> Vec<String> {
        let mut tree = Vec::new();
        list(self.cache.path(), self.cache.path(), &mut tree);
        tree.sort();
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.cache.path().join("models--someone--model").join(path)
    }

    fn incomplete(&self, files: &Files) -> PathBuf {
        self.path(&format!("blobs/{}.incomplete", sha256(&files[WEIGHTS])))
    }
}

fn list(root: &Path, directory: &Path, tree: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        match fs::read_link(&path) {
            Ok(target) => tree.push(format!("{name} -> {}", target.display())),
            Err(_) if path.is_dir() => list(root, &path, tree),
            Err(_) => tree.push(format!("{name} {}", path.metadata().unwrap().len())),
        }
    }
}

/// Checks that a snapshot has these files, but for the one that no model needs.
fn assert_has(source: &Source, files: &Files) {
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "README.md") {
        assert!(
            fs::read(source.directory().join(name)).unwrap() == *bytes,
            "{name}"
        );
    }
}

/// The requests for the weights' content.
fn downloads(server: &Server) -> Vec<String> {
    let seen = server.seen().into_iter().filter(|seen| seen.storage);
    let range = |seen: Seen| seen.line.split_whitespace().nth(2).map(str::to_owned);
    seen.map(|seen| range(seen).unwrap_or_default()).collect()
}

#[test]
fn a_download_has_the_layout_of_the_python_library() {
    let files = files();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    let source = user.find(NAME).unwrap();
    assert_eq!((source.name(), source.revision()), (NAME, Some(COMMIT)));
    assert_has(&source, &files);
    let mut expected = vec!["models--someone--model/refs/main 40".to_owned()];
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "README.md") {
        let (etag, size) = (etag(name, bytes), bytes.len());
        expected.extend([
            format!(".locks/models--someone--model/{etag}.lock 0"),
            format!("models--someone--model/blobs/{etag} {size}"),
            format!("models--someone--model/snapshots/{COMMIT}/{name} -> ../../blobs/{etag}"),
        ]);
    }
    // Of what the repository doesn't have, that it hasn't.
    for name in [
        "added_tokens.json",
        "modules.json",
        "special_tokens_map.json",
    ] {
        expected.push(format!(
            "models--someone--model/.no_exist/{COMMIT}/{name} 0"
        ));
    }
    expected.sort();
    assert_eq!(user.tree(), expected);
    assert_eq!(fs::read_to_string(user.path("refs/main")).unwrap(), COMMIT);

    let at = |name: &str| format!("/{NAME}/resolve/{COMMIT}/{name}");
    let redirected = format!("/api/resolve-cache/models/{NAME}/{COMMIT}/tokenizer_config.json");
    let mut requests = vec![format!("GET /api/models/{NAME}/revision/main")];
    for method in ["HEAD", "GET"] {
        for name in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            WEIGHTS,
        ] {
            requests.push(format!("{method} {}", at(name)));
            if name == "tokenizer_config.json" {
                requests.push(format!("{method} {redirected}"));
            }
        }
    }
    requests.push(format!("GET /{}", sha256(&files[WEIGHTS])));
    assert_eq!(server.lines(), requests);

    // What is whole is used as it is; a branch is asked for; a commit is forever.
    user.find(NAME).unwrap();
    user.find_at(NAME, Some(COMMIT)).unwrap();
    user.find(&format!("{NAME}@{COMMIT}")).unwrap();
    assert_eq!(server.lines(), Vec::<String>::new());
    user.find_at(NAME, Some("main")).unwrap();
    assert_eq!(server.lines(), requests[..1]);
    assert_eq!(user.tree(), expected);
    // Without the feature, it is found all the same.
    let found = Source::find(NAME, &user.settings.cache).unwrap();
    assert_eq!(found, source);
}

#[test]
fn where_links_are_not_possible_there_are_copies() {
    let files = files();
    let server = Server::with(NAME, &files);
    let mut user = User::of(&server);
    user.settings.copies = true;
    let source = user.find(NAME).unwrap();
    assert_has(&source, &files);
    let tree = user.tree();
    assert!(
        !tree
            .iter()
            .any(|line| line.contains("->") || line.contains(".incomplete")),
        "{tree:?}"
    );
}

#[test]
fn what_is_in_the_cache_is_not_downloaded_again() {
    let files = files();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    // As another revision's download by the Python library leaves it.
    let blob = user.path(&format!("blobs/{}", sha256(&files[WEIGHTS])));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, &files[WEIGHTS]).unwrap();
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(downloads(&server), Vec::<String>::new());
    // A link that leads nowhere is made again.
    fs::remove_file(&blob).unwrap();
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(downloads(&server), [""]);
}

#[test]
fn a_partial_snapshot_is_completed_and_nothing_comes_twice() {
    let server = Server::with(NAME, &files());
    let user = User::of(&server);
    let whole = user.find(NAME).unwrap();
    let tree = user.tree();
    let settings = "tokenizer_config.json";
    let head = |file: &str| format!("HEAD /{NAME}/resolve/{COMMIT}/{file}");
    let get = |file: &str| format!("GET /{NAME}/resolve/{COMMIT}/{file}");
    let redirected = format!("/api/resolve-cache/models/{NAME}/{COMMIT}/{settings}");
    // By the commit that the snapshot has, whatever `main` is by now.
    let list = format!("GET /api/models/{NAME}/revision/{COMMIT}");
    for lacking in [&[settings][..], &["tokenizer.json"], &[]] {
        // As who wanted only some of the files leaves it: nothing says what else there is.
        fs::remove_dir_all(user.path(".no_exist")).unwrap();
        for file in lacking {
            let file = user.path(&format!("snapshots/{COMMIT}/{file}"));
            fs::remove_file(file.canonicalize().unwrap()).unwrap();
            fs::remove_file(file).unwrap();
        }
        let asked = match lacking {
            [] => vec![list.clone()],
            // What a model can't do without is asked for where `main` is.
            ["tokenizer.json"] => vec![
                format!("GET /api/models/{NAME}/revision/main"),
                head("tokenizer.json"),
                get("tokenizer.json"),
            ],
            _ => vec![
                list.clone(),
                head(settings),
                format!("HEAD {redirected}"),
                get(settings),
                format!("GET {redirected}"),
            ],
        };
        server.seen();
        assert_eq!(user.find(NAME).unwrap(), whole, "{lacking:?}");
        assert_eq!(server.lines(), asked, "{lacking:?}");
        assert_eq!(user.tree(), tree, "{lacking:?}");
        user.find(NAME).unwrap();
        assert_eq!(server.lines(), Vec::<String>::new(), "{lacking:?}");
    }
}

#[test]
fn a_partial_snapshot_is_used_where_the_hub_is_out_of_reach() {
    let server = Server::with(NAME, &files());
    let mut user = User::of(&server);
    user.find(NAME).unwrap();
    fs::remove_dir_all(user.path(".no_exist")).unwrap();
    let perhaps = [
        "special_tokens_map.json",
        "added_tokens.json",
        "modules.json",
    ];
    server.change(|content| {
        let api = format!("/api/models/{NAME}/revision/{COMMIT}");
        let down = (500, String::new(), String::new());
        content.instead.insert(api, down);
    });
    assert_eq!(user.find(NAME).unwrap().unsettled(), perhaps);
    server.seen();
    user.settings.offline = true;
    assert_eq!(user.find(NAME).unwrap().unsettled(), perhaps);
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let server = Server::with("new/model", &files());
    server.change(|content| {
        content.moved.insert(NAME.into(), "new/model".into());
        content.gated.insert("new/model".into());
        content.token = "hf_secret".into();
    });
    User::with_token(&server, "hf_secret").find(NAME).unwrap();
    let seen = server.seen();
    for seen in &seen {
        let expected = (!seen.storage).then_some("Bearer hf_secret");
        assert_eq!(seen.token.as_deref(), expected, "{seen:?}");
    }
    assert_eq!(seen.iter().filter(|seen| seen.storage).count(), 1);
}

#[test]
fn who_is_named_in_the_address_is_sent_and_not_shown() {
    let server = Server::with(NAME, &files());
    server.change(|content| {
        content.gated.insert(NAME.into());
        // bob:pass@word
        content.token = "Basic Ym9iOnBhc3NAd29yZA==".into();
    });
    let with = |password: &str| {
        let mut user = User::of(&server);
        let named = format!("http://bob:{password}@");
        user.settings.endpoint = user.settings.endpoint.replace("http://", &named);
        user.find(NAME).map_err(|error| error.to_string())
    };
    with("pass%40word").unwrap();
    let error = with("nothing").unwrap_err();
    assert!(
        error.contains("doesn't accept the token from HF_ENDPOINT"),
        "{error}"
    );
    assert!(
        !error.contains("bob") && !error.contains("nothing"),
        "{error}"
    );
}

/// The proxies of an environment.
fn proxies(set: &[(&str, &str)]) -> Proxies {
    let find = |name: &str| set.iter().find(|(key, _)| *key == name);
    let settings = HubSettings::from_variables(|name| Some(find(name)?.1.into()));
    settings.unwrap().proxies
}

#[test]
fn what_is_far_is_reached_through_the_proxy() {
    let files = files();
    let server = Server::with(NAME, &files);
    // me:secret
    let address = proxy(&server.endpoint, Some("bWU6c2VjcmV0"));
    let through = |credentials: &str, no_proxy: &str| {
        let mut user = User::of(&server);
        user.settings.endpoint = "http://hub.invalid".into();
        let proxy = format!("http://{credentials}{address}");
        user.settings.proxies = proxies(&[("http_proxy", &proxy), ("NO_PROXY", no_proxy)]);
        user
    };
    let user = through("me:secret@", "other.invalid");
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(
        through("", "").error(NAME),
        format!(
            "a proxy on the way to HUB/api/models/{NAME}/revision/main asks for a user and a password (407); put them \
             into http_proxy, as in http://USER:PASSWORD@HOST:PORT"
        )
    );
    assert_eq!(
        through("me:wrong@", "").error(NAME),
        format!(
            "a proxy on the way to HUB/api/models/{NAME}/revision/main doesn't accept the user and the password in \
             http_proxy (407); check them, and that what is special in them is percent-encoded"
        )
    );
    server.seen();
    let direct = through("me:secret@", "hub.invalid:80").error(NAME);
    assert!(direct.starts_with("can't download from HUB/"), "{direct}");
    assert_eq!(server.lines(), Vec::<String>::new());

    let mut user = User::of(&server);
    user.settings.endpoint = "http://hub.invalid".into();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = nobody.local_addr().unwrap().to_string();
    user.settings.proxies = proxies(&[("ALL_PROXY", &format!("me:secret@{nobody}"))]);
    let error = user.error(NAME);
    let named = format!("(through the proxy {nobody} of ALL_PROXY)");
    assert!(error.contains(&named), "{error}");
}

#[test]
fn moved_repositories_keep_the_name_that_was_asked_for() {
    let server = Server::with("new/model", &files());
    server.change(|content| {
        content.moved.insert(NAME.into(), "new/model".into());
    });
    let user = User::of(&server);
    let source = user.find(NAME).unwrap();
    assert_eq!(source.name(), NAME);
    assert!(source.directory().starts_with(user.path("snapshots")));
    server.seen();
    user.find(NAME).unwrap();
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn short_names_are_asked_for_by_their_full_ones() {
    let server = Server::with("FacebookAI/roberta-large", &files());
    let user = User::of(&server);
    assert_eq!(
        user.find("roberta-large").unwrap().name(),
        "FacebookAI/roberta-large"
    );
    server.seen();
    user.find("roberta-large").unwrap();
    user.find("FacebookAI/roberta-large").unwrap();
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let server = Server::with(NAME, &files());
    let other = "0123456789012345678901234567890123456789";
    server.change(|content| {
        let mut changed = files();
        changed.insert("config.json".into(), b"changed".to_vec());
        let snapshot = (NAME.to_owned(), other.to_owned());
        content.snapshots.insert(snapshot, changed);
        for revision in ["v1", "refs/pr/1"] {
            let key = (NAME.to_owned(), revision.to_owned());
            content.references.insert(key, other.into());
        }
    });
    let mut user = User::of(&server);
    for (name, revision, commit) in [
        ("someone/model@v1", None, other),
        (NAME, Some("refs/pr/1"), other),
        (NAME, None, COMMIT),
        (NAME, Some(other), other),
    ] {
        let source = user.find_at(name, revision).unwrap();
        assert_eq!(source.revision(), Some(commit), "{name} {revision:?}");
    }
    let reference = |name| fs::read_to_string(user.path("refs").join(name)).unwrap();
    assert_eq!(
        ["v1", "refs/pr/1", "main"].map(reference),
        [other, other, COMMIT]
    );
    // The weights are the same, and came once.
    assert_eq!(downloads(&server).len(), 1);

    user.settings.offline = true;
    assert_eq!(
        user.find("someone/model@v1").unwrap().revision(),
        Some(other)
    );
    assert_eq!(
        user.error("someone/model@v2"),
        "HF_HUB_OFFLINE is set, and the Hugging Face cache CACHE holds no models--someone--model at revision v2; unset \
         it to download someone/model, or give the path of a directory"
    );
    user.settings.offline = false;
    assert_eq!(
        user.error("someone/model@v2"),
        "the model `someone/model` has no revision `v2`; its branches and commits are listed at \
         HUB/someone/model/commits/main"
    );
    assert_eq!(
        user.error("someone/model@../v2"),
        "`../v2` can't be a revision; give a branch, a tag or a commit, such as `main`"
    );
    let both = user.find_at("someone/model@v1", Some("v2")).unwrap_err();
    assert!(
        both.to_string().contains("names a revision already"),
        "{both}"
    );
    let directory = user.cache.path().to_str().unwrap();
    let on_disk = user.find_at(directory, Some("v2")).unwrap_err();
    assert!(
        on_disk.to_string().contains("has no revisions"),
        "{on_disk}"
    );
}

#[test]
fn a_revision_of_an_older_download_is_not_taken_for_main() {
    let server = Server::with(NAME, &files());
    let user = User::of(&server);
    user.find_at(NAME, Some(COMMIT)).unwrap();
    server.seen();
    user.find(NAME).unwrap();
    assert_eq!(
        server.lines(),
        ["GET /api/models/someone/model/revision/main"]
    );
}

#[test]
fn shards_are_downloaded_with_their_index() {
    let mut files = small(&["config.json", "vocab.json", "merges.txt"]);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    files.insert("model.safetensors.index.json".into(), index.into());
    files.extend(small(&["model-1.safetensors", "model-2.safetensors"]));
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    assert_has(&user.find(NAME).unwrap(), &files);
    server.seen();
    // A snapshot that lacks a shard isn't whole.
    fs::remove_file(user.path(&format!("snapshots/{COMMIT}/model-2.safetensors"))).unwrap();
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(
        server.lines(),
        [
            "GET /api/models/someone/model/revision/main".to_owned(),
            format!("HEAD /{NAME}/resolve/{COMMIT}/model-2.safetensors")
        ]
    );
    files.remove("model-2.safetensors");
    let server = Server::with(NAME, &files);
    let error = User::of(&server).error(NAME);
    assert!(
        error.contains("has no model-2.safetensors at revision c0ffee"),
        "{error}"
    );
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let files = files();
    let server = Server::with(NAME, &files);
    // Each begins where the one before ended; more breaks than are forgiven, but for the progress between them.
    let cuts = [1_500_000, 10, 1_200_000, 20].map(Fault::Cut);
    server.fail(WEIGHTS, &cuts);
    server.fail("config.json", &[Fault::Cut(3)]);
    let user = User::of(&server);
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(
        downloads(&server),
        [
            "",
            "bytes=1500000-",
            "bytes=1500010-",
            "bytes=2700010-",
            "bytes=2700030-"
        ]
    );
}

#[test]
fn what_came_is_kept_for_the_next_time() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Cut(1000), Fault::Cut(0), Fault::Cut(0)]);
    let user = User::of(&server);
    let error = user.error(NAME);
    assert!(
        error.starts_with("can't download from http://127.0.0.1:"),
        "{error}"
    );
    assert!(
        error.ends_with("run the same command again: it goes on where it stopped"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(
        fs::read(user.incomplete(&files)).unwrap(),
        files[WEIGHTS][..1000]
    );
    let tree = user.tree();
    let of_weights = |line: &&String| line.contains(WEIGHTS) || line.contains("refs");
    assert_eq!(tree.iter().find(of_weights), None, "{tree:?}");
    assert_eq!(downloads(&server).len(), 3);
    // A snapshot without its weights is found by nobody.
    Source::find(NAME, &user.settings.cache).unwrap_err();

    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(downloads(&server), ["bytes=1000-"]);
    assert!(!user.incomplete(&files).exists());
}

#[test]
fn a_whole_file_without_its_name_needs_no_connection() {
    let files = files();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    fs::create_dir_all(user.path("blobs")).unwrap();
    fs::write(user.incomplete(&files), &files[WEIGHTS]).unwrap();
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(downloads(&server), Vec::<String>::new());
}

#[test]
fn what_is_left_of_something_else_is_begun_again() {
    let files = files();
    for (left, expected) in [
        (vec![0; 5], vec!["bytes=5-", ""]),
        (vec![0; LARGE], vec![""]),
        (vec![0; LARGE + 1], vec![""]),
    ] {
        let server = Server::with(NAME, &files);
        let user = User::of(&server);
        fs::create_dir_all(user.path("blobs")).unwrap();
        fs::write(user.incomplete(&files), left).unwrap();
        assert_has(&user.find(NAME).unwrap(), &files);
        assert_eq!(downloads(&server), expected);
    }
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Cut(1000), Fault::NoRanges]);
    assert_has(&User::of(&server).find(NAME).unwrap(), &files);
    assert_eq!(downloads(&server), ["", "bytes=1000-"]);
}

#[test]
fn a_wrong_hash_leaves_nothing() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Corrupt]);
    let user = User::of(&server);
    let error = user.error(NAME);
    let hash = sha256(&files[WEIGHTS]);
    let expected =
        format!("model.safetensors: the hub says the SHA-256 {hash}, and what came has ");
    assert!(error.starts_with(&expected), "{error}");
    let tree = user.tree();
    let of_weights = |line: &&String| line.contains("blobs") && line.contains(&hash);
    assert_eq!(tree.iter().find(of_weights), None, "{tree:?}");
    assert_has(&user.find(NAME).unwrap(), &files);
}

/// Answers of a server of its own kind in place of the hub's, for one file.
fn instead(server: &Server, file: &str, headers: &str, text: &str) {
    server.change(|content| {
        let path = format!("/{NAME}/resolve/{COMMIT}/{file}");
        let answer = (200, headers.to_owned(), text.to_owned());
        content.instead.insert(path, answer);
    });
}

#[test]
fn a_small_file_has_gits_hash() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail("tokenizer.json", &[Fault::Corrupt]);
    let user = User::of(&server);
    let error = user.error(NAME);
    let hash = git_sha1(&files["tokenizer.json"]);
    // As `git hash-object` says.
    assert_eq!(
        git_sha1(b"abc\n"),
        "8baef1b4abc478178b004d62031cf7fe6db6f903"
    );
    let expected = format!("tokenizer.json: the hub says the Git SHA-1 {hash}, and what came has ");
    assert!(error.starts_with(&expected), "{error}");
    let blob = |end: &str| user.path(&format!("blobs/{hash}{end}"));
    assert!(!blob("").exists() && !blob(".incomplete").exists());
    // What a power cut leaves of it: the length without the content, or another byte.
    for left in [&[0; 10][..], b"This is tok"] {
        fs::write(blob(".incomplete"), left).unwrap();
        assert_has(&user.find(NAME).unwrap(), &files);
        assert!(!blob(".incomplete").exists());
        fs::remove_file(blob("")).unwrap();
    }
}

#[test]
fn what_no_hash_says_is_downloaded_whole() {
    let files = files();
    let text = |file: &str| String::from_utf8(files[file].clone()).unwrap();
    // One ETag for two files; one that ends as the cache's own names do; a hash in other letters.
    for etags in [
        ["same", "same"],
        ["abc", "abc.incomplete"],
        ["abc.incomplete", "abc"],
        ["ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD", "abc.lock"],
    ] {
        let server = Server::with(NAME, &files);
        let user = User::of(&server);
        fs::create_dir_all(user.path("blobs")).unwrap();
        for (file, etag) in ["config.json", "tokenizer.json"].into_iter().zip(etags) {
            instead(&server, file, &format!("ETag: \"{etag}\"\r\n"), &text(file));
            // A beginning that nobody can check, and another file's content under its ETag.
            fs::write(user.path(&format!("blobs/{etag}.incomplete")), "this is").unwrap();
            fs::write(user.path(&format!("blobs/{etag}")), "another file").unwrap();
        }
        let source = user.find(NAME).unwrap();
        assert_has(&source, &files);
        for file in ["config.json", "tokenizer.json"] {
            let blob = format!("../../blobs/{}", git_sha1(&files[file]));
            let link = fs::read_link(source.directory().join(file)).unwrap();
            assert_eq!(link, Path::new(&blob), "{etags:?}");
        }
        let lines = server.lines();
        assert!(
            !lines.iter().any(|line| line.contains("bytes=")),
            "{lines:?}"
        );
        let tree = user.tree();
        let incomplete = |line: &&String| {
            line.contains(".incomplete ") && !line.contains("blobs/abc.incomplete 12")
        };
        assert_eq!(tree.iter().find(incomplete), None);
        assert_eq!(tree.iter().find(|line| line.contains(".rq-")), None);
    }
}

#[test]
fn what_a_hub_sends_has_limits() {
    let config = "config.json";
    let endless = format!("1100000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x110_0000));
    for (file, headers, text, said) in [
        (
            config,
            "Transfer-Encoding: chunked\r\n",
            endless.as_str(),
            "config.json: the hub sends more and more bytes, and rq takes up to 16777216",
        ),
        (
            config,
            "Content-Length: 18446744073709551615\r\n",
            "{}",
            "config.json: the hub says 18446744073709551615 bytes",
        ),
        (
            config,
            "Content-Length: 16777217\r\n",
            "{}",
            "config.json: the hub says 16777217 bytes, and rq takes up to 16777216",
        ),
        (
            config,
            "X-Linked-Size: 18446744073709551615\r\n",
            "{}",
            "config.json: the hub says 18446744073709551615 bytes",
        ),
        (config, "X-Linked-Size: 0\r\n", "{}", "what came has"),
        (config, "Content-Length: 0\r\n", "{}", "what came has"),
        (
            config,
            "Content-Length: -1\r\n",
            "{}",
            "can't download from",
        ),
        (
            "tokenizer.json",
            "X-Linked-Size: 67108865\r\n",
            "{}",
            "rq takes up to 67108864",
        ),
        (
            WEIGHTS,
            "X-Linked-Size: 68719476737\r\n",
            "{}",
            "rq takes up to 68719476736",
        ),
    ] {
        let server = Server::with(NAME, &files());
        let hash = git_sha1(b"{}");
        instead(
            &server,
            file,
            &format!("ETag: \"{hash}\"\r\n{headers}"),
            text,
        );
        let mut user = User::of(&server);
        user.settings.retries = 0;
        let error = user.error(NAME);
        assert!(error.contains(said), "{headers}: {error}");
        let tree = user.tree();
        assert_eq!(
            tree.iter()
                .find(|line| line.contains(&format!("blobs/{hash}"))),
            None
        );
    }
    // More than was announced, for ever; and an answer of the API that has no end.
    let server = Server::with(NAME, &files());
    server.fail(WEIGHTS, &[Fault::Endless]);
    let error = User::of(&server).error(NAME);
    let said = format!("{WEIGHTS}: the hub says {LARGE} bytes, and ");
    assert!(error.starts_with(&said), "{error}");
    server.change(|content| {
        let api = format!("/api/models/{NAME}/revision/main");
        let headers = "Transfer-Encoding: chunked\r\n".to_owned();
        content.instead.insert(api, (200, headers, endless.clone()));
    });
    let error = User::of(&server).error(NAME);
    let said = "it sends more than 16777216 bytes of JSON";
    assert!(error.contains(said), "{error}");
    let mut many = small(&["config.json", "tokenizer.json"]);
    let shards: Vec<_> = (0..1025)
        .map(|n| format!(r#""{n}": "{n}.safetensors""#))
        .collect();
    let index = format!(r#"{{"weight_map": {{{}}}}}"#, shards.join(", "));
    many.insert("model.safetensors.index.json".into(), index.into());
    let error = User::of(&Server::with(NAME, &many)).error(NAME);
    assert!(
        error.starts_with("model.safetensors.index.json names 1025 shards"),
        "{error}"
    );
}

#[test]
fn a_server_that_never_ends_is_left() {
    let soon = |server: &Server, retries| {
        let mut user = User::of(server);
        user.settings.timeout = Duration::from_millis(250);
        user.settings.retries = retries;
        user
    };
    let started = Instant::now();
    // A byte a connection: the file has three millions.
    let server = Server::with(NAME, &files());
    server.fail(WEIGHTS, &[Fault::OneByte]);
    let error = soon(&server, 2).error(NAME);
    assert!(error.starts_with("can't download from"), "{error}");
    assert_eq!(downloads(&server), ["", "bytes=1-", "bytes=2-"]);
    // A byte every so often, of the content and of the headers.
    for headers in [false, true] {
        server.fail("config.json", &[Fault::Drip { headers }]);
        let error = soon(&server, 0).error(NAME);
        assert!(
            error.contains(" sent less than 1024 bytes a second for 0 s"),
            "{error}"
        );
    }
    // What is lost again and again is no progress.
    server.fail(
        WEIGHTS,
        &[Fault::Cut(1_500_000), Fault::Status(416, 0)].repeat(9),
    );
    server.fail("config.json", &[]);
    let error = soon(&server, 2).error(NAME);
    assert!(
        error.contains("can't download from") || error.contains("has no more of the file"),
        "{error}"
    );
    assert!(downloads(&server).len() < 9);
    // Nor is there time without an end.
    let mut user = User::of(&server);
    user.settings.allowance = Duration::ZERO;
    let error = user.error(NAME);
    assert!(
        error.contains("config.json hasn't come within 0 s, at less than 16384 bytes a second"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
#[cfg(unix)]
fn names_of_the_cache_lead_nowhere_else() {
    use std::os::unix::fs::symlink;
    let files = files();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    let precious = user.cache.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    fs::create_dir_all(user.path("blobs")).unwrap();
    fs::create_dir_all(user.path(&format!(".no_exist/{COMMIT}"))).unwrap();
    // In the place of beginnings, of what is noted, and what other processes of the same number left.
    symlink(&precious, user.incomplete(&files)).unwrap();
    let config = user.path(&format!(
        "blobs/{}.incomplete",
        git_sha1(&files["config.json"])
    ));
    fs::hard_link(&precious, config).unwrap();
    symlink(
        &precious,
        user.path(&format!(".no_exist/{COMMIT}/modules.json")),
    )
    .unwrap();
    for name in ["abc.1-0.incomplete", ".rq-a1B2c3.tmp"] {
        fs::write(user.path("blobs").join(name), "").unwrap();
    }
    let etag = git_sha1(&files["config.json"]);
    let left = user.path(&format!("blobs/{etag}.{}-0.incomplete", std::process::id()));
    symlink(format!("../../blobs/{etag}"), left).unwrap();
    assert_has(&user.find(NAME).unwrap(), &files);
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    let tree = user.tree();
    for end in [".incomplete", ".tmp"] {
        let left = |line: &&String| line.contains("blobs/") && line.contains(end);
        assert_eq!(tree.iter().find(left), None);
    }
}

/// Hears what a download waits for.
struct Waits(Mutex<std::sync::mpsc::Sender<String>>);

impl DownloadProgress for Waits {
    fn start(&self, _: &str, _: &str, _: u64) {}
    fn at(&self, _: &str, _: u64) {}
    fn waiting(&self, file: &str, lock: &Path) {
        let said = format!("{file} {}", lock.display());
        self.0.lock().unwrap().send(said).unwrap();
    }
}

#[test]
fn who_waits_for_another_process_is_told() {
    let files = files();
    let server = Server::with(NAME, &files);
    let user = User::of(&server);
    let locks = user.cache.path().join(".locks/models--someone--model");
    fs::create_dir_all(&locks).unwrap();
    let path = locks.join(format!("{}.lock", sha256(&files[WEIGHTS])));
    let lock = fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let (sender, heard) = std::sync::mpsc::channel();
    let waits = Waits(Mutex::new(sender));
    std::thread::scope(|scope| {
        let found = scope.spawn(|| Hub::new(user.settings.clone()).find(NAME, None, &waits));
        let said = heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(said, format!("{WEIGHTS} {}", path.display()));
        assert!(!found.is_finished());
        drop(lock);
        assert_has(&found.join().unwrap().unwrap(), &files);
    });
    assert!(heard.try_recv().is_err());
}

#[test]
fn a_small_file_of_another_length_is_refused() {
    let server = Server::with(NAME, &files());
    server.change(|content| {
        let path = format!("/{NAME}/resolve/{COMMIT}/config.json");
        let headers = "ETag: \"abc\"\r\nX-Linked-Size: 3\r\n".to_owned();
        content.instead.insert(path, (200, headers, "four".into()));
    });
    let user = User::of(&server);
    let error = user.error(NAME);
    assert!(
        error.starts_with("config.json: the hub says 3 bytes, and 4 came"),
        "{error}"
    );
    assert!(!user.path("blobs/abc").exists());
}

#[test]
fn a_slow_server_is_waited_for_and_a_silent_one_is_not() {
    let files = files();
    let server = Server::with(NAME, &files);
    let mut user = User::of(&server);
    user.settings.timeout = Duration::from_secs(1);
    // Longer than the timeout as a whole.
    server.fail(WEIGHTS, &[Fault::Slow(15)]);
    assert_has(&user.find(NAME).unwrap(), &files);

    let mut user = User::of(&server);
    user.settings.timeout = Duration::from_secs(1);
    user.settings.retries = 1;
    server.fail(WEIGHTS, &[Fault::Stall(500), Fault::Stall(100)]);
    let started = Instant::now();
    let error = user.error(NAME);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        error.contains(" sent nothing for 1 s; run the same command again"),
        "{error}"
    );
    assert_eq!(
        fs::read(user.incomplete(&files)).unwrap(),
        files[WEIGHTS][..600]
    );
    // One that wakes up again is forgiven.
    server.fail(WEIGHTS, &[Fault::Stall(100)]);
    assert_has(&user.find(NAME).unwrap(), &files);
}

#[test]
fn a_busy_server_is_asked_again() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail("config.json", &[Fault::Status(503, 0)]);
    server.fail(WEIGHTS, &[Fault::Status(429, 1), Fault::Status(403, 0)]);
    let started = Instant::now();
    let user = User::of(&server);
    assert_has(&user.find(NAME).unwrap(), &files);
    assert!(started.elapsed() > Duration::from_secs(1));

    let user = User::of(&server);
    server.fail(WEIGHTS, &[Fault::Status(429, 3600)]);
    let error = user.error(NAME);
    assert!(
        error.contains(" answers 429; try again in 3600 s"),
        "{error}"
    );
    server.fail("config.json", &[Fault::Status(500, 0); 3]);
    let error = User::of(&server).error(NAME);
    assert!(
        error.contains("config.json answers 500; try again later"),
        "{error}"
    );
}

#[test]
fn how_long_to_wait_is_said_in_each_way_that_servers_have() {
    let server = Server::with(NAME, &files());
    let api = format!("/api/models/{NAME}/revision/main");
    let answers = |status, headers: &str| {
        server.change(|content| {
            let answer = (status, headers.to_owned(), String::new());
            content.instead.insert(api.clone(), answer);
        });
        User::of(&server).error(NAME)
    };
    for (headers, said) in [
        ("Retry-After: 90\r\n", "answers 429; try again in 90 s"),
        (
            "ratelimit: \"api\";r=0;t=299\r\n",
            "answers 429; try again in 299 s",
        ),
        (
            "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
            "answers 429; try again later",
        ),
        ("", "answers 429; try again later"),
    ] {
        let error = answers(429, headers);
        assert!(error.ends_with(said), "{error}");
    }
    let error = answers(429, "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    let seconds = error.rsplit(' ').nth(1).unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 86_400, "{error}");
    let error = answers(407, "");
    assert!(
        error.ends_with(
            "revision/main asks for a user and a password (407); put them into http_proxy, as in \
             http://USER:PASSWORD@HOST:PORT"
        ),
        "{error}"
    );
}

#[test]
fn what_the_hub_says_about_access_is_passed_on() {
    let server = Server::with(NAME, &files());
    let api = format!("/api/models/{NAME}/revision/main");
    let give = "give a token from HUB/settings/tokens in HF_TOKEN, or run `hf auth login`";
    let check = "check that the token from HF_TOKEN may read it";
    let review =
        "Your request to access model someone/model is awaiting a review from the repo authors.";
    for (headers, token, expected) in [
        (
            format!("X-Error-Code: GatedRepo\r\nX-Error-Message: {review}\r\n"),
            true,
            format!(
                "the model `{NAME}` is gated ({review}): ask for access at HUB/{NAME}, then {check}"
            ),
        ),
        (
            "X-Error-Message: Access to this resource is disabled.\r\n".into(),
            false,
            format!(
                "HUB doesn't give access to the model `{NAME}` (Access to this resource is disabled.); {give}"
            ),
        ),
        (
            String::new(),
            true,
            format!("HUB doesn't give access to the model `{NAME}`; {check}"),
        ),
    ] {
        server.change(|content| {
            let answer = (403, headers, String::new());
            content.instead.insert(api.clone(), answer);
        });
        let user = match token {
            true => User::with_token(&server, "hf_secret"),
            false => User::of(&server),
        };
        assert_eq!(user.error(NAME), expected);
    }
}

#[test]
fn what_is_not_there_or_not_for_everyone_is_told_apart() {
    let server = Server::with(NAME, &files());
    server.change(|content| {
        content.token = "hf_secret".into();
        content.gated.insert(NAME.into());
    });
    let (anonymous, stranger) = (User::of(&server), User::with_token(&server, "hf_wrong"));
    assert_eq!(
        anonymous.error(NAME),
        "the model `someone/model` is gated (Access to this model is restricted): ask for access at HUB/someone/model, then give a token from \
         HUB/settings/tokens in HF_TOKEN, or run `hf auth login`"
    );
    assert_eq!(
        stranger.error(NAME),
        "HUB doesn't accept the token from HF_TOKEN; make a new one at HUB/settings/tokens, or remove it, since a public \
         model needs none"
    );
    assert_eq!(
        anonymous.error("someone/else"),
        "HUB has no model `someone/else`, or has it for others; check the name, or, if the model is private, give a \
         token from HUB/settings/tokens in HF_TOKEN, or run `hf auth login`"
    );
    assert_eq!(
        User::with_token(&server, "hf_secret").error("someone/else"),
        "HUB has no model `someone/else`, or has it for others; check the name, or, if the model is private, check that \
         the token from HF_TOKEN may read it"
    );
    assert_eq!(anonymous.tree(), Vec::<String>::new());
}

#[test]
fn repositories_that_are_no_model_are_refused_before_a_download() {
    for (names, part) in [
        (&["README.md"][..], "has no config.json at revision c0ffee"),
        (
            &["config.json", WEIGHTS],
            "has no tokenizer.json, and none of vocab.json with merges.txt, vocab.txt and sentencepiece.bpe.model at",
        ),
        (
            &["config.json", "tokenizer.json"],
            "has no model.safetensors at revision",
        ),
        (
            &["config.json", "tokenizer.json", "tf_model.h5"],
            "has its weights in tf_model.h5, of TensorFlow, which rq doesn't read",
        ),
        (
            &["config.json", "onnx/model.onnx"],
            "onnx/model.onnx, of ONNX",
        ),
        (&["model.Q8_0.gguf"], "model.Q8_0.gguf, of llama.cpp's GGUF"),
        (
            &[
                "config.json",
                "tokenizer.json",
                WEIGHTS,
                "adapter_config.json",
            ],
            "has an adapter for the weights of another model",
        ),
    ] {
        let server = Server::with(NAME, &small(names));
        let user = User::of(&server);
        let error = user.error(NAME);
        assert!(error.contains(part), "{error}");
        assert_eq!(user.tree(), Vec::<String>::new());
    }
    // The hub says what its head is.
    let mut files = small(&["tf_model.h5"]);
    let config = r#"{"architectures":["RobertaForQuestionAnswering"]}"#;
    files.insert("config.json".into(), config.into());
    let error = User::of(&Server::with(NAME, &files)).error(NAME);
    let class = format!("`AutoModelForQuestionAnswering.from_pretrained(\"{NAME}\", from_tf=True)");
    assert!(error.contains(&class), "{error}");
}

#[test]
fn offline_means_no_request() {
    let files = files();
    let server = Server::with("FacebookAI/roberta-large", &files);
    let mut user = User::of(&server);
    user.settings.offline = true;
    assert_eq!(
        user.error("roberta-large"),
        "HF_HUB_OFFLINE is set, and the Hugging Face cache CACHE holds no models--roberta-large or \
         models--FacebookAI--roberta-large; unset it to download FacebookAI/roberta-large, or give the path of a directory"
    );
    assert_eq!(server.lines(), Vec::<String>::new());
    user.settings.offline = false;
    let source = user.find("roberta-large").unwrap();
    server.seen();
    user.settings.offline = true;
    assert_eq!(user.find("roberta-large").unwrap(), source);
    fs::remove_file(source.directory().join("tokenizer.json")).unwrap();
    let error = user.error("roberta-large");
    assert!(
        error.contains(&format!("snapshots/{COMMIT} has no tokenizer.json")),
        "{error}"
    );
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn what_does_not_speak_the_protocol_is_told_so() {
    let api = format!("/api/models/{NAME}/revision/main");
    let config = format!("/{NAME}/resolve/{COMMIT}/config.json");
    for (path, status, headers, text, part) in [
        (&api, 200, "", "<html>", "asked for a revision of a model"),
        (
            &api,
            200,
            "",
            r#"{"sha": "../..", "siblings": []}"#,
            "as a commit",
        ),
        (
            &api,
            302,
            "Location: /api/models/someone/model/revision/main\r\n",
            "",
            "more than 10",
        ),
        (
            &api,
            302,
            "Location: ftp://example.org/\r\n",
            "",
            "no address",
        ),
        (&config, 200, "", "no etag", "no ETag that can name a file"),
        (
            &config,
            200,
            "ETag: \"../../x\"\r\n",
            "x",
            "no ETag that can name a file",
        ),
        (
            &config,
            200,
            "ETag: \"a\"\r\nX-Repo-Commit: other\r\n",
            "x",
            "the commit \"other\"",
        ),
        (
            &config,
            200,
            "ETag: \"a\"\r\nContent-Encoding: gzip\r\n",
            "x",
            "in an encoding",
        ),
    ] {
        let server = Server::with(NAME, &files());
        server.change(|content| {
            let answer = (status, headers.to_owned(), text.to_owned());
            content.instead.insert(path.clone(), answer);
        });
        let error = User::of(&server).error(NAME);
        assert!(
            error.contains("doesn't answer as the Hugging Face hub does"),
            "{error}"
        );
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn nobody_at_the_address_is_told_soon() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut user = User::of(&Server::new());
    user.settings.endpoint = endpoint;
    user.settings.retries = 5;
    let started = Instant::now();
    let error = user.error(NAME);
    assert!(
        error.starts_with("can't download from HUB/api/models/someone/model"),
        "{error}"
    );
    assert!(error.contains("check the connection"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn certificates_are_those_of_the_named_file() {
    let server = Server::with(NAME, &files());
    let mut user = User::of(&server);
    let path = user.cache.path().join("certificates");
    user.settings.certificates = Some(Certificates {
        path: path.clone(),
        variable: "REQUESTS_CA_BUNDLE",
    });
    let expected = "REQUESTS_CA_BUNDLE is CACHE/certificates, which has no certificates in PEM that can be read; name a \
                    file or a directory that does, or unset it";
    // Nothing, a file without any, a directory without any.
    assert_eq!(user.error(NAME), expected);
    fs::write(&path, "none").unwrap();
    assert_eq!(user.error(NAME), expected);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(user.error(NAME), expected);
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn who_is_no_https_server_is_not_trusted() {
    // As a web server answers https on the port of http.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut user = User::of(&Server::new());
    user.settings.endpoint = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let error = user.error(NAME);
    assert!(
        error.starts_with("there is no secure connection to HUB/api/models/someone/model"),
        "{error}"
    );
}

#[test]
fn two_at_once_download_once() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Slow(10)]);
    let user = User::of(&server);
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| user.find(NAME).unwrap()));
        for thread in threads {
            assert_has(&thread.join().unwrap(), &files);
        }
    });
    assert_eq!(downloads(&server), [""]);
}

/// Remembers what it heard.
#[derive(Default)]
struct Heard {
    starts: Mutex<Vec<(String, u64)>>,
    last: Mutex<u64>,
}

impl DownloadProgress for Heard {
    fn start(&self, repository: &str, commit: &str, total_bytes: u64) {
        let what = format!("{repository} {commit}");
        self.starts.lock().unwrap().push((what, total_bytes));
    }

    fn at(&self, _: &str, bytes: u64) {
        *self.last.lock().unwrap() = bytes;
    }
}

#[test]
fn progress_counts_every_byte_once() {
    let files = files();
    let server = Server::with(NAME, &files);
    server.fail(WEIGHTS, &[Fault::Cut(1000), Fault::NoRanges]);
    let user = User::of(&server);
    let heard = Heard::default();
    Hub::new(user.settings.clone())
        .find(NAME, None, &heard)
        .unwrap();
    let needed = files.iter().filter(|(name, _)| *name != "README.md");
    let total = needed.map(|(_, bytes)| bytes.len() as u64).sum();
    let starts = heard.starts.into_inner().unwrap();
    assert_eq!(starts, [(format!("{NAME} {COMMIT}"), total)]);
    assert_eq!(heard.last.into_inner().unwrap(), total);
}

/// What the Python library says to a cache, which must end well.
fn python(server: &Server, user: &User, code: &str) {
    let python = std::env::var("RQ_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = std::process::Command::new(python)
        .args(["-c", code])
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", user.cache.path().join("home"))
        .env("HF_HUB_CACHE", user.cache.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
#[ignore = "needs a Python with huggingface_hub: python3, or what RQ_PYTHON names"]
fn python_finds_ours_and_we_find_pythons() {
    let files = files();
    let server = Server::with(NAME, &files);
    let (ours, theirs) = (User::of(&server), User::of(&server));
    ours.find(NAME).unwrap();
    server.seen();
    python(
        &server,
        &ours,
        r"
from huggingface_hub import hf_hub_download, scan_cache_dir
for file in ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors']:
    hf_hub_download('someone/model', file, local_files_only=True)
    hf_hub_download('someone/model', file)
assert not scan_cache_dir().warnings
",
    );
    let lines = server.lines();
    let is_content = |line: &&String| line.starts_with("GET") && line.contains(NAME);
    assert_eq!(lines.iter().find(is_content), None);
    python(
        &server,
        &theirs,
        r"
from huggingface_hub import hf_hub_download
for file in ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors']:
    hf_hub_download('someone/model', file)
",
    );
    server.seen();
    assert_has(&theirs.find(NAME).unwrap(), &files);
    // What nobody asked for, the hub may have.
    let list = format!("GET /api/models/{NAME}/revision/{COMMIT}");
    assert_eq!(server.lines(), [list]);
    let relevant = |user: &User| -> Vec<String> {
        let tree = user.tree().into_iter();
        tree.filter(|line| line.contains("models--")).collect()
    };
    assert_eq!(relevant(&ours), relevant(&theirs));
}
