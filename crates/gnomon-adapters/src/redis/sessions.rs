//! Persistent MQTT sessions.

use std::collections::HashMap;

use gnomon_host::port::migrate::Looked;
use gnomon_host::port::{SavedSession, SessionChange, Sessions, StoreError};
use redis::Cmd;

use super::{Redis, read};

/// Runs a command on a session if it is there and its gateway's. KEYS: session; ARGV: gateway, then
/// the command's name and its arguments.
const OWN: &str = "\
if redis.call('HGET', KEYS[1], 'gateway') == ARGV[1] then \
redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3)) end return 1";

/// Saves a document unless the session is another gateway's. ARGV: gateway, document.
const SAVE: &str = "\
local gateway = redis.call('HGET', KEYS[1], 'gateway') \
if not gateway or gateway == ARGV[1] then \
redis.call('HSET', KEYS[1], 'gateway', ARGV[1], 'doc', ARGV[2]) end return 1";

/// Gives a session that is no gateway's to one. ARGV: gateway.
const ADOPT: &str = "\
if redis.call('HEXISTS', KEYS[1], 'doc') == 1 then return redis.call('HSETNX', KEYS[1], 'gateway', ARGV[1]) end \
return 0";

impl Redis {
    fn session_key(&self, client: &str) -> String {
        self.key(&[":{", client, "}:session"])
    }

    /// Clients of a gateway; some may have been handed over or forgotten.
    fn sessions_key(&self, gateway: &str) -> String {
        self.key(&[":sessions:", gateway])
    }

    /// Names of gateways that have or had sessions.
    fn gateways_key(&self) -> String {
        self.key(&[":gateways"])
    }

    fn name_gateway(&self, gateway: &str) -> Cmd {
        let mut name = redis::cmd("SADD");
        name.arg(self.gateways_key()).arg(gateway);
        name
    }

    /// A command that is run if the session is the gateway's.
    fn own(&self, gateway: &str, client: &str, command: &str) -> Cmd {
        let mut own = redis::cmd("EVAL");
        own.arg(OWN).arg(1).arg(self.session_key(client)).arg(gateway).arg(command);
        own
    }

    fn index(&self, command: &str, gateway: &str, client: &str) -> Cmd {
        let mut index = redis::cmd(command);
        index.arg(self.sessions_key(gateway)).arg(client);
        index
    }

    /// Clients that had a session in format 1; there was no other index.
    fn old_sessions_key(&self) -> String {
        self.key(&[":sessions"])
    }

    /// Gives sessions of format 1 to a gateway, and removes their index when there are no more. Done
    /// in the order of what may be cut off: a session is the gateway's last.
    pub(super) async fn adopt(
        &self,
        after: Option<&str>,
        count_max: usize,
        gateway: &str,
        dry_run: bool,
    ) -> Result<Looked, StoreError> {
        let mut clients = self.members(self.old_sessions_key()).await?;
        clients.retain(|client| after.is_none_or(|after| after < client.as_str()));
        clients.truncate(count_max);
        if clients.is_empty() {
            let mut remove = redis::cmd("DEL");
            remove.arg(self.old_sessions_key());
            self.ask(if dry_run { Vec::new() } else { vec![remove] }).await?;
            return Ok(Looked::default());
        }
        let ask = |client: &String| {
            let mut command = redis::cmd("HMGET");
            command.arg(self.session_key(client)).arg("doc").arg("gateway");
            command
        };
        let found = self.ask(clients.iter().map(ask).collect()).await?;
        let mut ownerless = Vec::new();
        for (client, found) in clients.iter().zip(found) {
            let (document, owner): (Option<Vec<u8>>, Option<String>) = read(found)?;
            ownerless.extend((document.is_some() && owner.is_none()).then_some(client));
        }
        if !dry_run && !ownerless.is_empty() {
            let mut there = vec![self.name_gateway(gateway)];
            there.extend(ownerless.iter().map(|client| self.index("SADD", gateway, client)));
            self.ask(there).await?;
            let adopt = |client: &&String| {
                let mut command = redis::cmd("EVAL");
                command.arg(ADOPT).arg(1).arg(self.session_key(client)).arg(gateway);
                command
            };
            self.ask(ownerless.iter().map(adopt).collect()).await?;
        }
        let changed = ownerless.len() as u64;
        Ok(Looked { last: clients.pop(), changed })
    }

    /// Members of a set, sorted.
    async fn members(&self, key: String) -> Result<Vec<String>, StoreError> {
        let mut ask = redis::cmd("SMEMBERS");
        ask.arg(key);
        let answer = self.ask(vec![ask]).await?.pop().unwrap_or(redis::Value::Nil);
        let mut members: Vec<String> = read(answer)?;
        members.sort_unstable();
        Ok(members)
    }

    /// The index names a client before the session is the gateway's, and for a while after it is not.
    fn change_commands(&self, gateway: &str, change: &SessionChange, commands: &mut Vec<Cmd>) {
        match change {
            SessionChange::Save { client, document } => {
                let mut save = redis::cmd("EVAL");
                save.arg(SAVE).arg(1).arg(self.session_key(client)).arg(gateway);
                save.arg(&document[..]);
                let there = self.index("SADD", gateway, client);
                commands.extend([self.name_gateway(gateway), there, save]);
            }
            SessionChange::Forget { client } => {
                let forget = self.own(gateway, client, "DEL");
                commands.extend([forget, self.index("SREM", gateway, client)]);
            }
            SessionChange::HandOver { client, to, document } => {
                let mut hand_over = self.own(gateway, client, "HSET");
                hand_over.arg("gateway").arg(to).arg("doc").arg(&document[..]);
                let there = self.index("SADD", to, client);
                commands.extend([
                    self.name_gateway(to),
                    there,
                    hand_over,
                    self.index("SREM", gateway, client),
                ]);
            }
            SessionChange::Keep { client, key, message } => {
                let mut keep = self.own(gateway, client, "HSET");
                keep.arg(format!("m{key}")).arg(&message[..]);
                commands.push(keep);
            }
            SessionChange::Drop { client, key } => {
                let mut drop = self.own(gateway, client, "HDEL");
                drop.arg(format!("m{key}"));
                commands.push(drop);
            }
        }
    }
}

impl Sessions for Redis {
    async fn gateways(&self) -> Result<Vec<String>, StoreError> {
        self.members(self.gateways_key()).await
    }

    async fn forget_gateway(&self, gateway: &str) -> Result<(), StoreError> {
        let mut forget = redis::cmd("SREM");
        forget.arg(self.gateways_key()).arg(gateway);
        self.ask(vec![forget]).await.map(|_| ())
    }

    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        let clients = self.members(self.sessions_key(gateway)).await?;
        let mut saved = Vec::with_capacity(clients.len());
        for some in clients.chunks(256) {
            let ask = |client: &String| {
                let mut command = redis::cmd("HGETALL");
                command.arg(self.session_key(client));
                command
            };
            let answers = self.ask(some.iter().map(ask).collect()).await?;
            for (client, answer) in some.iter().zip(answers) {
                let found = session(client, read(answer)?);
                saved.extend(found.filter(|session| session.gateway == gateway));
            }
        }
        Ok(saved)
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        let mut ask = redis::cmd("HGETALL");
        ask.arg(self.session_key(client));
        let answer = self.ask(vec![ask]).await?.pop().unwrap_or(redis::Value::Nil);
        Ok(session(client, read(answer)?))
    }

    /// Changes of one client are made in order; a failure may leave a part of all changes made, which
    /// making them again completes.
    async fn change(&self, gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        if !self.shared.connection.is_cluster() {
            let mut commands = Vec::with_capacity(changes.len() + 2);
            commands.push(redis::cmd("MULTI"));
            let each = changes.iter();
            each.for_each(|change| self.change_commands(gateway, change, &mut commands));
            commands.push(redis::cmd("EXEC"));
            return self.ask(commands).await.map(|_| ());
        }
        // Commands for several nodes have no order among them, so one after the other.
        for change in &changes {
            let mut commands = Vec::new();
            self.change_commands(gateway, change, &mut commands);
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
    let gateway = String::from_utf8(fields.remove("gateway")?).ok()?;
    let message = |(field, message): (String, Vec<u8>)| {
        Some((field.strip_prefix('m')?.parse().ok()?, message.into()))
    };
    let mut pending: Vec<_> = fields.into_iter().filter_map(message).collect();
    pending.sort_unstable_by_key(|(key, _)| *key);
    Some(SavedSession { client: client.to_owned(), gateway, document, pending })
}
