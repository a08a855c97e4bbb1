//! JSON mode: one client of subprotocol `standpipe.v1`, subscribed to any number of topics. `src/PROTOCOL.md` describes
//! it.
//!
//! Commands that arrived together are carried out together: consecutive publishes to one topic become one
//! [`Topic::publish_all`], and the answers are sent in one call.

use std::collections::HashMap;

use standpipe::{
    Connection, Hub, Message, Policy, Publication, SendAllError, SubscribeOptions, Subscription,
    Topic,
};

use super::Failure;
use super::answers::{Answers, Done, Outcome, Refusal};
use super::client_log::Forbidden;
use super::command::{
    Command, CommandError, CommandMessage, Publish, Reference, Resume, TokenText,
};
use super::exec::Input;
use super::parser::parse;
use super::publish_counts::{self, Way};
use super::raw::{MAX_BATCH, TRY_AGAIN_LATER, publish_waiting};
use super::renewal::Renewal;
use super::rules::Rights;

/// The connection is closed at the third message that is not JSON, because the client speaks another protocol.
const MAX_NOT_JSON: u32 = 3;

/// Close code for a client that speaks another protocol.
const POLICY_VIOLATION: u16 = 1008;

/// One client's subscriptions.
pub(crate) struct Session<'a> {
    hub: &'a Hub,
    /// The client's name in presence lists.
    name: Option<String>,
    max_subscriptions: usize,
    rights: Rights<'a>,
    /// The command of `standpipe exec`.
    input: Option<&'a Input>,
    renewal: Renewal<'a>,
    subscriptions: HashMap<String, Subscription>,
    /// How many messages were not JSON.
    not_json: u32,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        hub: &'a Hub,
        name: Option<String>,
        max_subscriptions: usize,
        rights: Rights<'a>,
        renewal: Renewal<'a>,
    ) -> Session<'a> {
        Session {
            hub,
            name,
            max_subscriptions,
            rights,
            input: None,
            renewal,
            subscriptions: HashMap::new(),
            not_json: 0,
        }
    }

    /// Publishes to the topic of `input` go there.
    pub(crate) fn input(mut self, input: Option<&'a Input>) -> Session<'a> {
        self.input = input;
        self
    }

    /// Carries out commands until the connection ends.
    pub(crate) fn run(mut self, conn: &mut Connection) -> Result<(), Failure> {
        loop {
            let messages = conn.recv_all(MAX_BATCH)?;
            if messages.is_empty() {
                return Ok(());
            }
            let mut answers = Answers::default();
            self.execute(conn, &messages, &mut answers)?;
            answers.send(conn)?;
        }
    }

    /// Carries out the commands that arrived together, in their order, up to the first one that closes the connection.
    ///
    /// Answers that are ready are sent before a command that may wait for a long time. Otherwise the client would get the
    /// answers to finished commands only after that wait.
    fn execute(
        &mut self,
        conn: &Connection,
        messages: &[Message],
        answers: &mut Answers,
    ) -> Result<(), SendAllError> {
        let mut commands = messages.iter().map(parse).peekable();
        while let Some(CommandMessage { reference, command }) = commands.next() {
            match command {
                Ok(Command::Publish { topic, publish }) => {
                    let mut publishes = vec![(reference, publish)];
                    while let Some(next) = commands.next_if(|next| next.publishes_to(&topic)) {
                        publishes.extend(next.into_publish());
                    }
                    self.publish(conn, &topic, publishes, answers)?;
                }
                Ok(Command::Subscribe {
                    topic,
                    resume,
                    presence,
                }) => {
                    if resume.is_some() {
                        answers.send(conn)?;
                    }
                    let outcome = self.subscribe(conn, topic, resume, presence);
                    answers.add(reference.as_deref(), outcome);
                }
                Ok(Command::Unsubscribe(topic)) => {
                    answers.add(reference.as_deref(), self.unsubscribe(&topic));
                }
                Ok(Command::Token(token)) => {
                    let outcome = self.renew(conn, &token);
                    answers.add(reference.as_deref(), outcome);
                }
                Err(error) => answers.add(reference.as_deref(), Err(self.refusal(error))),
            }
            if answers.has_close() {
                break;
            }
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        conn: &Connection,
        name: String,
        resume: Option<Resume>,
        presence: bool,
    ) -> Outcome {
        if self.subscriptions.contains_key(&name) {
            return Err("already subscribed to this topic".into());
        }
        if let Err(reason) = self.rights.check_subscribe(&name) {
            Forbidden::Subscribe.log(conn, &reason);
            return Err(reason.into());
        }
        if self.subscriptions.len() >= self.max_subscriptions {
            return Err(Refusal {
                error: format!("limit of {} subscriptions reached", self.max_subscriptions),
                close: Some(TRY_AGAIN_LATER),
            });
        }
        let mut options = SubscribeOptions::new().with_envelope();
        if let Some(Resume { since, epoch }) = resume {
            options = options.since(since);
            if let Some(epoch) = epoch {
                options = options.epoch(&epoch);
            }
        }
        if presence {
            options = options.with_presence();
        }
        if let Some(own) = &self.name {
            options = options.with_name(own);
        }
        let subscription = self
            .topic(&name)?
            .subscribe(conn.outbox(), options)
            .map_err(|error| error.to_string())?;
        let done = Done::Topic {
            id: subscription.last_id(),
            epoch: Some(subscription.topic().epoch().to_owned()),
        };
        self.subscriptions.insert(name, subscription);
        Ok(done)
    }

    fn unsubscribe(&mut self, name: &str) -> Outcome {
        match self.subscriptions.remove(name) {
            Some(subscription) => Ok(subscription.topic().last_id().into()),
            None => Err("not subscribed to this topic".into()),
        }
    }

    /// Goes on with a newer token, whose claims apply immediately: subscriptions that it does not allow end.
    fn renew(&mut self, conn: &Connection, token: &TokenText) -> Outcome {
        let identity = self.renewal.renew(self.rights.identity(), token, conn)?;
        let exp = identity.claims().map_or(0, |claims| claims.exp);
        self.rights.renew(identity);
        let (rights, subscriptions) = (&mut self.rights, &mut self.subscriptions);
        let mut ended: Vec<String> = subscriptions
            .extract_if(|topic, _| rights.check_subscribe(topic).is_err())
            .map(|(topic, _)| topic)
            .collect();
        ended.sort();
        Ok(Done::Renewed { exp, ended })
    }

    /// Publishes to one topic, and adds an answer for each message.
    fn publish(
        &mut self,
        conn: &Connection,
        name: &str,
        publishes: Vec<(Reference, Publish)>,
        answers: &mut Answers,
    ) -> Result<(), SendAllError> {
        let (references, publishes): (Vec<_>, Vec<_>) = publishes.into_iter().unzip();
        if let Err(reason) = self.rights.check_publish(name) {
            Forbidden::Publish.log(conn, &reason);
            publish_counts::record_forbidden(Way::Json, references.len());
            for reference in &references {
                answers.add(reference.as_deref(), Err(reason.into()));
            }
            return Ok(());
        }
        if let Some(input) = self.input.filter(|input| input.is_of(name)) {
            answers.send(conn)?;
            let messages = publishes.into_iter().map(Publication::from);
            let sent = input.send(conn, messages.map(Publication::into_message).collect());
            for reference in &references {
                let outcome = match sent {
                    // The message has no id of its own, because it is not in the topic.
                    Ok(()) => Ok(input.last_id().into()),
                    Err(reason) => Err(reason.into()),
                };
                answers.add(reference.as_deref(), outcome);
            }
            return Ok(());
        }
        let topic = match self.topic(name) {
            Ok(topic) => topic,
            // This closes the connection, so the first message is the last one that is answered.
            Err(refusal) => {
                answers.add(references[0].as_deref(), Err(refusal));
                return Ok(());
            }
        };
        if matches!(topic.settings().policy, Policy::Block { .. }) {
            answers.send(conn)?;
        }
        let outcomes = publish_waiting(
            conn,
            &topic,
            Way::Json,
            publishes.into_iter().map(Publication::from).collect(),
        );
        for (n, reference) in references.iter().enumerate() {
            let outcome = match &outcomes {
                Ok(outcomes) => Ok(outcomes[n].id.into()),
                Err(error) => Err(error.to_string().into()),
            };
            answers.add(reference.as_deref(), outcome);
        }
        Ok(())
    }

    fn topic(&self, name: &str) -> Result<Topic, Refusal> {
        if let Some(subscription) = self.subscriptions.get(name) {
            return Ok(subscription.topic().clone());
        }
        self.hub.topic(name).map_err(|error| Refusal {
            error: error.to_string(),
            close: Some(TRY_AGAIN_LATER),
        })
    }

    /// Turns an unreadable command into a refusal, and counts messages that are not JSON.
    fn refusal(&mut self, error: CommandError) -> Refusal {
        match error {
            CommandError::NotJson(error) => {
                self.not_json += 1;
                let close = (self.not_json >= MAX_NOT_JSON).then_some(POLICY_VIOLATION);
                Refusal { error, close }
            }
            CommandError::Invalid(error) => error.into(),
        }
    }
}
