//! What a person is told once the server answers: where to go next.

use super::{Context, Exit, Global, Outcome};
use crate::client::Client;
use api::wire::{Bootstrap, SignInCode};
use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Says where the server is, how to sign in, and what comes next.
pub(super) async fn greet(c: &Context, address: SocketAddr, pid: u32) -> Outcome {
    let base = format!("http://{address}");
    let client = Client::find(&Global { server: Some(base.clone()), ..c.global.clone() })?;
    let code: SignInCode = client.post("/api/sign-in/codes").await?;
    let link = format!("{base}{}#{}", code.path, code.code);
    if c.out.json {
        c.out.document(&serde_json::json!({"address": address, "pid": pid, "sign_in": link}))?;
        return Ok(Exit::Ok);
    }
    let program = program();
    c.out.line(&format!("TaskForge listens on {base} (process {pid})"));
    c.out.line(&format!("  sign in   {link}   (once, within 10 minutes)"));
    c.out.line(&format!("  API docs  {base}/docs"));
    // The server makes it by itself; an Engine that does not answer is for `doctor`.
    let at_start = crate::config::bootstrap_at_start().unwrap_or(false);
    let image: Option<Bootstrap> = if at_start { client.post("/api/images/bootstrap").await.ok() } else { None };
    if image.is_some_and(|i| i.state != "ready") {
        c.out.line(&format!(
            "  image     is being made, once, for some minutes: {program} image bootstrap   (follows it)"
        ));
    }
    c.out.line(&format!("  look      {program} doctor"));
    c.out.line(&format!("  next      {program} run \"Say hello in hello.txt\" --model PROVIDER/MODEL"));
    Ok(Exit::Ok)
}

/// How this program is called from here: by its name where the shell finds it, by its path otherwise.
pub(super) fn program() -> String {
    let own = env::current_exe().ok();
    called(own.as_deref(), env::var_os("PATH").as_deref(), env::current_dir().ok().as_deref())
}

fn called(own: Option<&Path>, path: Option<&OsStr>, here: Option<&Path>) -> String {
    const NAME: &str = "taskforge";
    let Some(own) = own else { return NAME.to_owned() };
    let found = path.map(env::split_paths).into_iter().flatten().map(|dir| dir.join(NAME)).find(|p| p.is_file());
    let real = |p: &Path| p.canonicalize().unwrap_or_else(|_| PathBuf::from(p));
    if found.is_some_and(|f| real(&f) == real(own)) {
        return NAME.to_owned();
    }
    match here.and_then(|h| own.strip_prefix(h).ok()) {
        // A shell looks a bare name up elsewhere.
        Some(name) if name.components().count() == 1 => format!("./{}", name.display()),
        Some(below) => below.display().to_string(),
        None => own.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_called_as_the_shell_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("taskforge");
        std::fs::write(&own, "").unwrap();
        let called = |path: &str, here: &str| called(Some(&own), Some(OsStr::new(path)), Some(Path::new(here)));
        let folder = dir.path().to_str().unwrap();
        assert_eq!(called(&format!("/nowhere:{folder}"), "/"), "taskforge");
        assert_eq!(called("/nowhere", "/elsewhere"), own.display().to_string());
        assert_eq!(called("/nowhere", folder), "./taskforge", "relative to here");
        let above = dir.path().parent().unwrap().to_str().unwrap();
        assert!(called("/nowhere", above).ends_with("/taskforge"));
    }
}
