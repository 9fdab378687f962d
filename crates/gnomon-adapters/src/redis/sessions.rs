//! Persistent MQTT sessions.

use std::collections::HashMap;

use gnomon_host::port::{SavedSession, SessionChange, Sessions, StoreError};
use redis::Cmd;

use super::{Redis, read};

/// Keeps a message if the session is there.
const KEEP: &str = "\
if redis.call('HEXISTS', KEYS[1], 'doc') == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end \
return 1";

impl Redis {
    fn session_key(&self, client: &str) -> String {
        self.key(&[":{", client, "}:session"])
    }

    fn sessions_key(&self) -> String {
        self.key(&[":sessions"])
    }

    fn change_commands(&self, change: &SessionChange, commands: &mut Vec<Cmd>) {
        match change {
            SessionChange::Save { client, document } => {
                let mut index = redis::cmd("SADD");
                index.arg(self.sessions_key()).arg(client);
                let mut save = redis::cmd("HSET");
                save.arg(self.session_key(client)).arg("doc").arg(&document[..]);
                commands.extend([index, save]);
            }
            SessionChange::Forget { client } => {
                let mut forget = redis::cmd("DEL");
                forget.arg(self.session_key(client));
                let mut index = redis::cmd("SREM");
                index.arg(self.sessions_key()).arg(client);
                commands.extend([forget, index]);
            }
            SessionChange::Keep { client, key, message } => {
                let mut keep = redis::cmd("EVAL");
                keep.arg(KEEP).arg(1).arg(self.session_key(client));
                keep.arg(format!("m{key}")).arg(&message[..]);
                commands.push(keep);
            }
            SessionChange::Drop { client, key } => {
                let mut drop = redis::cmd("HDEL");
                drop.arg(self.session_key(client)).arg(format!("m{key}"));
                commands.push(drop);
            }
        }
    }
}

impl Sessions for Redis {
    async fn load_all(&self) -> Result<Vec<SavedSession>, StoreError> {
        let mut ask = redis::cmd("SMEMBERS");
        ask.arg(self.sessions_key());
        let answer = self.ask(vec![ask]).await?.pop().unwrap_or(redis::Value::Nil);
        let mut clients: Vec<String> = read(answer)?;
        clients.sort_unstable();
        let mut saved = Vec::with_capacity(clients.len());
        for some in clients.chunks(256) {
            let ask = |client: &String| {
                let mut command = redis::cmd("HGETALL");
                command.arg(self.session_key(client));
                command
            };
            let answers = self.ask(some.iter().map(ask).collect()).await?;
            for (client, answer) in some.iter().zip(answers) {
                let fields: HashMap<String, Vec<u8>> = read(answer)?;
                saved.extend(session(client, fields));
            }
        }
        Ok(saved)
    }

    /// Changes of one client are made in order; a failure may leave a part of all changes made, which
    /// making them again completes.
    async fn change(&self, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        if !self.shared.connection.is_cluster() {
            let mut commands = Vec::with_capacity(changes.len() + 2);
            commands.push(redis::cmd("MULTI"));
            changes.iter().for_each(|change| self.change_commands(change, &mut commands));
            commands.push(redis::cmd("EXEC"));
            return self.ask(commands).await.map(|_| ());
        }
        // Commands for several nodes have no order among them, so one after the other.
        for change in &changes {
            let mut commands = Vec::new();
            self.change_commands(change, &mut commands);
            for command in commands {
                self.ask(vec![command]).await?;
            }
        }
        Ok(())
    }
}

/// A session from its fields; none if it was forgotten meanwhile.
fn session(client: &str, mut fields: HashMap<String, Vec<u8>>) -> Option<SavedSession> {
    let document = fields.remove("doc")?.into();
    let message = |(field, message): (String, Vec<u8>)| {
        Some((field.strip_prefix('m')?.parse().ok()?, message.into()))
    };
    let mut pending: Vec<_> = fields.into_iter().filter_map(message).collect();
    pending.sort_unstable_by_key(|(key, _)| *key);
    Some(SavedSession { client: client.to_owned(), document, pending })
}
