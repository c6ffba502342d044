//! Whether this job may write what other jobs read: never where somebody from outside could have chosen what it runs.
//!
//! A pack's records are its writer's claims. A job for a pull request runs the text of whoever opened it, so its
//! claims are theirs; a job of the default branch runs what was reviewed. What can't be told counts as from outside.
//! Knows the environment only as values, and the event's file through a function, so that every service is a row of a
//! table in the tests.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// The file that describes a job's event may be so large.
const MOST_EVENT: u64 = 8 << 20;

type Env = BTreeMap<String, String>;

/// Reads the JSON file of a path.
pub type ReadEvent<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// Refuses with the reason where the job is not trusted to write.
pub fn judge(env: &Env, event: ReadEvent<'_>) -> Result<(), String> {
    let is = |name: &str, value: &str| env.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    let set = |name: &str| env.get(name).is_some_and(|found| !found.is_empty());
    // The most telling variable of each service; several set `CI` alone besides.
    if is("GITHUB_ACTIONS", "true") {
        return github(env, event);
    }
    if is("GITLAB_CI", "true") {
        return gitlab(env);
    }
    if is("BUILDKITE", "true") {
        return flagged(env, "Buildkite", "BUILDKITE_PULL_REQUEST", Some("false"));
    }
    if is("TRAVIS", "true") {
        return flagged(env, "Travis CI", "TRAVIS_PULL_REQUEST", Some("false"));
    }
    if is("CIRCLECI", "true") {
        let names = ["CIRCLE_PULL_REQUEST", "CIRCLE_PULL_REQUESTS", "CIRCLE_PR_NUMBER"];
        return absent(env, "CircleCI", &names);
    }
    if set("JENKINS_URL") {
        return absent(env, "Jenkins", &["CHANGE_ID", "CHANGE_FORK", "ghprbPullId"]);
    }
    if is("TF_BUILD", "true") {
        let from_outside = is("BUILD_REASON", "PullRequest") || set("SYSTEM_PULLREQUEST_PULLREQUESTID");
        return one_of(env, "Azure Pipelines", "BUILD_REASON", AZURE)
            .and_then(|()| refuse_if(from_outside, "Azure Pipelines"));
    }
    if is("APPVEYOR", "true") {
        return absent(env, "AppVeyor", &["APPVEYOR_PULL_REQUEST_NUMBER"]);
    }
    if is("DRONE", "true") {
        return one_of(env, "Drone", "DRONE_BUILD_EVENT", &["push", "cron", "tag", "promote", "rollback", "custom"]);
    }
    if is("CI", "woodpecker") {
        return one_of(env, "Woodpecker", "CI_PIPELINE_EVENT", &["push", "cron", "tag", "manual", "deployment"]);
    }
    if set("BITBUCKET_BUILD_NUMBER") {
        return absent(env, "Bitbucket Pipelines", &["BITBUCKET_PR_ID"]);
    }
    if is("CIRRUS_CI", "true") {
        return absent(env, "Cirrus CI", &["CIRRUS_PR"]);
    }
    if set("CI") && !is("CI", "false") && !is("CI", "0") {
        return Err("this is a job of a CI service that pipe does not know, so it can't tell whose text it runs".into());
    }
    if ["BUILD_ID", "BUILD_NUMBER", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID"].iter().any(|name| set(name)) {
        return Err("this looks like a job of a CI service, and pipe can't tell whose text it runs".into());
    }
    // A person at a machine of theirs.
    Ok(())
}

const AZURE: &[&str] = &["Manual", "IndividualCI", "BatchedCI", "Schedule", "BuildCompletion", "ResourceTrigger"];

/// What only somebody who may write to the repository can start.
const GITHUB: &[&str] =
    &["push", "schedule", "workflow_dispatch", "repository_dispatch", "release", "create", "deployment"];

fn github(env: &Env, event: ReadEvent<'_>) -> Result<(), String> {
    let name = env.get("GITHUB_EVENT_NAME").map(String::as_str).unwrap_or_default();
    let repository = env.get("GITHUB_REPOSITORY").map(String::as_str).unwrap_or_default();
    let event = || env.get("GITHUB_EVENT_PATH").and_then(|path| event(path));
    let at = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    match name {
        "pull_request" => {
            let head = event().and_then(|event| at(&event, "/pull_request/head/repo/full_name"));
            Err(match head {
                Some(head) if head == repository => "this job runs for a pull request, whose text nobody merged".into(),
                Some(head) => format!("this job runs for a pull request of the fork `{head}`"),
                None => "this job runs for a pull request, maybe of a fork".into(),
            })
        }
        "pull_request_target" => Err("this job runs for a pull request with the rights of the repository \
                                      (`pull_request_target`), and may have its text checked out"
            .into()),
        "workflow_run" => {
            let event = event();
            let start = event.as_ref().and_then(|event| at(event, "/workflow_run/event"));
            let head = event.as_ref().and_then(|event| at(event, "/workflow_run/head_repository/full_name"));
            match (start.as_deref(), head) {
                (Some(start), Some(head)) if GITHUB.contains(&start) && head == repository => Ok(()),
                (Some(start), _) => Err(format!(
                    "this job follows another one (`workflow_run`), which `{start}` started, maybe from a fork"
                )),
                (None, _) => {
                    Err("this job follows another one (`workflow_run`), and it can't be told what started that".into())
                }
            }
        }
        "" => Err("this job of GitHub Actions does not say what started it".into()),
        name if GITHUB.contains(&name) => Ok(()),
        name => {
            Err(format!("this job was started by `{name}`, which people from outside the repository may be able to do"))
        }
    }
}

const GITLAB: &[&str] =
    &["push", "web", "schedule", "api", "trigger", "pipeline", "chat", "webide", "ondemand_dast_scan"];

fn gitlab(env: &Env) -> Result<(), String> {
    let get = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(source) = get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID") {
        return Err(match get("CI_PROJECT_ID") == Some(source) {
            true => "this job runs for a merge request, whose text nobody merged".into(),
            false => "this job runs for a merge request of a fork".into(),
        });
    }
    if get("CI_MERGE_REQUEST_IID").is_some() || get("CI_EXTERNAL_PULL_REQUEST_IID").is_some() {
        return Err("this job runs for a merge request, maybe of a fork".into());
    }
    // A parent's variables need not all come down to its child.
    one_of(env, "GitLab CI", "CI_PIPELINE_SOURCE", GITLAB)
}

/// A service that sets a variable to the pull request's number, and to `no` where there is none.
fn flagged(env: &Env, service: &str, name: &str, no: Option<&str>) -> Result<(), String> {
    match env.get(name).map(String::as_str) {
        value if value == no => Ok(()),
        None | Some("") => Err(format!("this job of {service} does not say whether it runs for a pull request")),
        Some(_) => refuse_if(true, service),
    }
}

/// A service that sets one of these only for pull requests.
fn absent(env: &Env, service: &str, names: &[&str]) -> Result<(), String> {
    refuse_if(names.iter().any(|name| env.get(*name).is_some_and(|value| !value.is_empty())), service)
}

/// A service that says what started the job.
fn one_of(env: &Env, service: &str, name: &str, trusted: &[&str]) -> Result<(), String> {
    match env.get(name).map(String::as_str) {
        Some(found) if trusted.contains(&found) => Ok(()),
        Some(found) if !found.is_empty() => {
            Err(format!("this job of {service} was started by `{found}`, maybe from outside the repository"))
        }
        _ => Err(format!("this job of {service} does not say what started it")),
    }
}

fn refuse_if(from_outside: bool, service: &str) -> Result<(), String> {
    match from_outside {
        true => Err(format!("this job of {service} runs for a pull request, maybe of a fork")),
        false => Ok(()),
    }
}

/// The event's file as it lies on the disk.
pub fn event_of_disk(path: &str) -> Option<Value> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST_EVENT).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether a policy lets untrusted jobs write. It must lie where the text of a pull request can't put it.
pub fn policy_allows(policy: &Path, pipeline: &Path) -> Result<(), String> {
    let shown = policy.display();
    let real = policy.canonicalize().map_err(|error| format!("`{shown}` can't be read: {error}"))?;
    let pipeline = pipeline.canonicalize().unwrap_or_else(|_| pipeline.to_owned());
    let beside = pipeline.parent().unwrap_or(Path::new("/"));
    let project = beside.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(beside);
    if real.starts_with(project) {
        return Err(format!("`{shown}` lies inside the project, where a pull request can write it"));
    }
    let text = std::fs::read(&real).map_err(|error| format!("`{shown}` can't be read: {error}"))?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| format!("`{shown}` is no JSON: {error}"))?;
    match (value["schema"].as_str(), value["untrusted-export"].as_str()) {
        (Some("pipe-policy/1"), Some("allow")) => Ok(()),
        (Some("pipe-policy/1"), _) => Err(format!("`{shown}` does not say `\"untrusted-export\": \"allow\"`")),
        _ => Err(format!("`{shown}` is no policy: it needs `\"schema\": \"pipe-policy/1\"`")),
    }
}

#[cfg(test)]
mod tests;
