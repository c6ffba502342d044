//! The environments of CI services, a row each, as their documentation gives them.

use serde_json::json;

use super::*;

/// What is said of an environment, `ok` where the job may write. `event` is the text of GitHub's event file.
fn said(vars: &str, event: &Value) -> String {
    let env: Env = vars
        .split_whitespace()
        .map(|pair| pair.split_once('=').expect("NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    judge(&env, &|path| (path == "/event.json").then(|| event.clone())).err().unwrap_or_else(|| "ok".to_owned())
}

const GITHUB_JOB: &str = "CI=true GITHUB_ACTIONS=true GITHUB_REPOSITORY=us/it GITHUB_EVENT_PATH=/event.json";

#[test]
fn who_may_write_in_every_service() {
    let rows: &[(&str, &str)] = &[
        ("", "ok"),
        ("HOME=/home/me CI=", "ok"),
        ("CI=false", "ok"),
        ("CI=true", "does not know"),
        ("CI=1", "does not know"),
        ("TEAMCITY_VERSION=2024", "can't tell"),
        ("CODEBUILD_BUILD_ID=x:1", "can't tell"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=push", "ok"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=schedule", "ok"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=workflow_dispatch", "ok"),
        ("CI=true GITHUB_ACTIONS=true", "does not say what started it"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=issue_comment", "started by `issue_comment`"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=merge_group", "started by `merge_group`"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=pull_request", "maybe of a fork"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=pull_request_target", "with the rights of the repository"),
        ("CI=true GITHUB_ACTIONS=true GITHUB_EVENT_NAME=workflow_run", "can't be told what started that"),
        ("CI=true GITLAB_CI=true CI_PIPELINE_SOURCE=push", "ok"),
        ("CI=true GITLAB_CI=true CI_PIPELINE_SOURCE=schedule", "ok"),
        ("CI=true GITLAB_CI=true", "does not say what started it"),
        ("CI=true GITLAB_CI=true CI_PIPELINE_SOURCE=parent_pipeline", "started by `parent_pipeline`"),
        ("CI=true GITLAB_CI=true CI_PIPELINE_SOURCE=external_pull_request_event", "started by `external_pull"),
        (
            "GITLAB_CI=true CI_PIPELINE_SOURCE=merge_request_event CI_PROJECT_ID=1 CI_MERGE_REQUEST_SOURCE_PROJECT_ID=1",
            "whose text nobody merged",
        ),
        (
            "GITLAB_CI=true CI_PIPELINE_SOURCE=merge_request_event CI_PROJECT_ID=1 CI_MERGE_REQUEST_SOURCE_PROJECT_ID=2",
            "of a fork",
        ),
        ("GITLAB_CI=true CI_PIPELINE_SOURCE=push CI_MERGE_REQUEST_IID=7", "maybe of a fork"),
        ("CI=true BUILDKITE=true BUILDKITE_PULL_REQUEST=false", "ok"),
        ("CI=true BUILDKITE=true BUILDKITE_PULL_REQUEST=12", "Buildkite runs for a pull request"),
        ("CI=true BUILDKITE=true", "does not say whether"),
        ("CI=true TRAVIS=true TRAVIS_PULL_REQUEST=false", "ok"),
        ("CI=true TRAVIS=true TRAVIS_PULL_REQUEST=3", "for a pull request"),
        ("CI=true CIRCLECI=true CIRCLE_BRANCH=main", "ok"),
        ("CI=true CIRCLECI=true CIRCLE_PR_NUMBER=3", "for a pull request"),
        ("JENKINS_URL=http://j BUILD_NUMBER=1", "ok"),
        ("JENKINS_URL=http://j BUILD_NUMBER=1 CHANGE_ID=4 CHANGE_FORK=them", "for a pull request"),
        ("TF_BUILD=True BUILD_REASON=IndividualCI", "ok"),
        ("TF_BUILD=True BUILD_REASON=PullRequest", "started by `PullRequest`"),
        ("CI=True APPVEYOR=True", "ok"),
        ("CI=True APPVEYOR=True APPVEYOR_PULL_REQUEST_NUMBER=5", "for a pull request"),
        ("CI=true DRONE=true DRONE_BUILD_EVENT=push", "ok"),
        ("CI=true DRONE=true DRONE_BUILD_EVENT=pull_request", "started by `pull_request`"),
        ("CI=woodpecker CI_PIPELINE_EVENT=cron", "ok"),
        ("CI=woodpecker CI_PIPELINE_EVENT=pull_request", "started by `pull_request`"),
        ("CI=true BITBUCKET_BUILD_NUMBER=1", "ok"),
        ("CI=true BITBUCKET_BUILD_NUMBER=1 BITBUCKET_PR_ID=2", "for a pull request"),
        ("CI=true CIRRUS_CI=true CIRRUS_PR=9", "for a pull request"),
    ];
    for (vars, wanted) in rows {
        let said = said(vars, &Value::Null);
        assert!(if *wanted == "ok" { said == "ok" } else { said.contains(wanted) }, "{vars}: {said}");
    }
}

#[test]
fn githubs_event_tells_forks_apart() {
    let pull = |head: &str| json!({ "pull_request": { "head": { "repo": { "full_name": head } } } });
    let of = |name: &str, event: &Value| said(&format!("{GITHUB_JOB} GITHUB_EVENT_NAME={name}"), event);
    assert!(of("pull_request", &pull("them/it")).contains("the fork `them/it`"));
    assert!(of("pull_request", &pull("us/it")).contains("nobody merged"));
    let run = |event: &str, head: &str| json!({ "workflow_run": { "event": event, "head_repository": { "full_name": head } } });
    assert_eq!(of("workflow_run", &run("push", "us/it")), "ok");
    assert!(of("workflow_run", &run("push", "them/it")).contains("maybe from a fork"));
    assert!(of("workflow_run", &run("pull_request", "us/it")).contains("`pull_request` started"));
    // An event file decides nothing for a push.
    assert_eq!(of("push", &pull("them/it")), "ok");
}

#[test]
fn a_policy_counts_only_outside_of_the_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let (project, outside) = (folder.path().join("project"), folder.path().join("policy.json"));
    std::fs::create_dir_all(project.join(".git")).expect("a project");
    std::fs::create_dir_all(project.join("deep")).expect("a folder");
    let pipeline = project.join("deep/p.kdl");
    let inside = project.join("policy.json");
    let allow = r#"{"schema": "pipe-policy/1", "untrusted-export": "allow"}"#;
    for path in [&pipeline, &inside, &outside] {
        std::fs::write(path, allow).expect("a file");
    }
    assert_eq!(policy_allows(&outside, &pipeline), Ok(()));
    assert!(policy_allows(&inside, &pipeline).unwrap_err().contains("inside the project"));
    let link = folder.path().join("link.json");
    std::os::unix::fs::symlink(&inside, &link).expect("a link");
    assert!(policy_allows(&link, &pipeline).unwrap_err().contains("inside the project"));
    std::fs::write(&outside, r#"{"schema": "pipe-policy/1"}"#).expect("a file");
    assert!(policy_allows(&outside, &pipeline).unwrap_err().contains("does not say"));
    std::fs::write(&outside, "{}").expect("a file");
    assert!(policy_allows(&outside, &pipeline).unwrap_err().contains("is no policy"));
    assert!(policy_allows(&folder.path().join("none"), &pipeline).unwrap_err().contains("can't be read"));
}
