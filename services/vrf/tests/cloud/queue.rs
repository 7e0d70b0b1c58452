//! Making tasks: what the API is told, with whose token, and what its answers mean.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};
use windlass_store::UnixMillis;
use windlass_vrf::cloud::cli::{CreateTaskArgs, create_task};
use windlass_vrf::cloud::{QueueError, TaskQueue};

use super::support::{AUDIENCE, Cloud, EMAIL, NOW, ONE, clock, config, guarded, key_pem, no_pauses};

const PATH: &str = "/v2/projects/my-project/locations/us-central1/queues/vrf/tasks";
const METADATA: &str = "/computeMetadata/";

#[tokio::test]
async fn the_api_is_told_what_the_former_worker_told_it() {
    let (cloud, clock) = (Cloud::start().await, clock());
    let config = guarded(&cloud, "", Some("delay = \"5s\"\ndeadline = \"60s\""));
    let queue = TaskQueue::new(&config, clock.clone()).unwrap();
    let task = queue.create().await.unwrap();
    assert_eq!(task.name, "projects/my-project/locations/us-central1/queues/vrf/tasks/1");
    assert_eq!(task.due_ms, NOW.0 + 5_000);
    let seen = cloud.requests("/v2/").remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", PATH));
    assert_eq!(seen.header("authorization"), "Bearer ya29.hunter2-1");
    assert_eq!(
        seen.json(),
        json!({"task": {
            "httpRequest": {"httpMethod": "POST", "url": "https://vrf.a.run.app/",
                "oidcToken": {"serviceAccountEmail": EMAIL, "audience": AUDIENCE}},
            "scheduleTime": "2022-06-23T08:20:30Z",
            "dispatchDeadline": "60s",
        }})
    );
    // The token is asked for again a minute before it ends.
    queue.create().await.unwrap();
    assert_eq!(cloud.requests(METADATA).len(), 1);
    clock.advance(Duration::from_secs(3_540));
    queue.create().await.unwrap();
    assert_eq!(cloud.requests(METADATA).len(), 2);
}

#[tokio::test]
async fn without_a_deadline_the_queue_has_its_own() {
    let cloud = Cloud::start().await;
    let queue = TaskQueue::new(&guarded(&cloud, "", Some("")), clock()).unwrap();
    let (url, body) = queue.request(UnixMillis(NOW.0 + 123));
    assert!(url.path().ends_with("/queues/vrf/tasks"));
    assert_eq!(body["task"]["scheduleTime"], "2022-06-23T08:20:25.123Z");
    assert!(body["task"].get("dispatchDeadline").is_none());
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let cloud = Cloud::start().await;
    let queue = TaskQueue::new(&guarded(&cloud, "", Some("")), clock()).unwrap().with_pauses(no_pauses());
    cloud.script("/v2/", &[503, 429]);
    queue.create().await.unwrap();
    assert_eq!(cloud.requests("/v2/").len(), 3);
    // A token that is refused is replaced.
    cloud.script("/v2/", &[401]);
    queue.create().await.unwrap();
    let seen = cloud.requests("/v2/");
    assert_eq!(seen[3].header("authorization"), "Bearer ya29.hunter2-1");
    assert_eq!(seen[4].header("authorization"), "Bearer ya29.hunter2-2");
    cloud.script("/v2/", &[500; 4]);
    let error = queue.create().await.unwrap_err();
    assert!(matches!(error, QueueError::Refused { status: 500, .. }) && error.is_transient());
    cloud.script(METADATA, &[500]);
    queue.create().await.unwrap();
}

#[tokio::test]
async fn what_cannot_pass_is_told_at_once() {
    let cloud = Cloud::start().await;
    let queue = TaskQueue::new(&guarded(&cloud, "", Some("")), clock()).unwrap().with_pauses(no_pauses());
    for (status, hint) in [(403, "cloudtasks.enqueuer"), (404, "check project, location and queue")] {
        let before = cloud.requests("/v2/").len();
        cloud.script("/v2/", &[status]);
        let error = queue.create().await.unwrap_err();
        assert_eq!(cloud.requests("/v2/").len(), before + 1);
        assert!(error.hint().unwrap().contains(hint) && !error.is_transient());
        let text = error.to_string();
        assert!(
            text.starts_with("the next task of projects/my-project/locations/us-central1/queues/vrf cannot be made: 127.0.0.1:"),
            "{text}"
        );
        assert!(text.ends_with(&format!("answered {status}: scripted")) && !text.contains("hunter2"), "{text}");
    }
    cloud.script(METADATA, &[404]);
    let queue = TaskQueue::new(&guarded(&cloud, "", Some("")), clock()).unwrap();
    let error = queue.create().await.unwrap_err();
    assert!(matches!(error, QueueError::Token { .. }) && error.hint().unwrap().contains("key_file"), "{error}");
    assert!(matches!(TaskQueue::new(&config(&cloud, "", None), clock()), Err(QueueError::NotConfigured { .. })));
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let cloud = Cloud::start().await;
    let mut config = guarded(&cloud, "", Some(""));
    config.queue.as_mut().unwrap().api_url = "http://127.0.0.1:1".parse().unwrap();
    let queue = TaskQueue::new(&config, clock()).unwrap().with_pauses(no_pauses());
    let error = queue.create().await.unwrap_err();
    assert!(matches!(&error, QueueError::Unreachable { host, .. } if host == "127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_key_file_is_exchanged_for_a_token() {
    let (cloud, folder) = (Cloud::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("key.json");
    let write = |content: &Value, mode: u32| {
        std::fs::write(&path, content.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = json!({"type": "service_account", "client_email": "maker@my-project.iam.gserviceaccount.com", "private_key_id": "one",
        "private_key": key_pem("one"), "token_uri": cloud.url("/token")});
    write(&file, 0o600);
    let config = guarded(&cloud, "", Some(&format!("key_file = \"{}\"", path.display())));
    let queue = TaskQueue::new(&config, clock()).unwrap().with_pauses(no_pauses());
    queue.create().await.unwrap();
    assert!(cloud.requests(METADATA).is_empty());
    let seen = cloud.requests("/token").remove(0);
    assert_eq!(seen.header("content-type"), "application/x-www-form-urlencoded");
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[cloud.url("/token")]);
    validation.validate_exp = false;
    let key = DecodingKey::from_rsa_components(ONE.1, "AQAB").unwrap();
    let claim = decode::<Value>(&form["assertion"], &key, &validation).unwrap().claims;
    let now = NOW.to_seconds().0;
    assert_eq!(
        claim,
        json!({"iss": "maker@my-project.iam.gserviceaccount.com", "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": cloud.url("/token"), "iat": now, "exp": now + 3_600})
    );
    // Each way in which the file can be wrong, without a word of it.
    let mut no_key = file.clone();
    no_key["private_key"] = json!("hunter2");
    for (content, mode, says) in [
        (file.clone(), 0o644, "can be read by other users"),
        (json!({"private_key": "hunter2"}), 0o600, "not the JSON key"),
        (no_key, 0o600, "private key cannot be read"),
    ] {
        write(&content, mode);
        let error = TaskQueue::new(&config, clock()).unwrap().create().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains("hunter2") && !error.is_transient(), "{text}");
    }
}

#[tokio::test]
async fn the_command_makes_the_first_task() {
    let cloud = Cloud::start().await;
    let config = guarded(&cloud, "", Some(""));
    let run = async |arguments: &CreateTaskArgs, json: bool| {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = create_task(arguments, &config, clock(), &mut stdout, &mut stderr, json).await;
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    };
    let mut arguments = CreateTaskArgs { relay: None, from_env: None, dry_run: true };
    let (code, stdout, _) = run(&arguments, true).await;
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, document["body"]["task"]["httpRequest"]["httpMethod"].as_str()), (0, Some("POST")));
    assert!(run(&arguments, false).await.1.starts_with("POST http://127.0.0.1:"));
    assert!(cloud.seen.lock().is_empty(), "a dry run asks nobody");
    arguments.dry_run = false;
    let (code, stdout, stderr) = run(&arguments, false).await;
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (0, "projects/my-project/locations/us-central1/queues/vrf/tasks/1\n", "")
    );
    cloud.script("/v2/", &[403]);
    let (code, stdout, stderr) = run(&arguments, false).await;
    assert!(code == 1 && stdout.is_empty() && stderr.contains("hint: the account needs the roles"), "{stderr}");
}
