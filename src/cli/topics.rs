//! The values of `--topic`, and of a `[[topic]]` table in a configuration file.

use std::str::FromStr;
use std::time::Duration;

use standpipe::{Policy, TopicSettings};

use super::rules::{Rule, TopicRule};
use super::units::Time;
use super::values::queue;

/// `PATTERN:policy=…,queue=…,history=…,max-age=…,max-lateness=…,publish=…,subscribe=…`. Each part may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicFlag {
    pub(crate) pattern: String,
    policy: Option<Policy>,
    queue: Option<usize>,
    history: Option<usize>,
    max_age: Option<Duration>,
    max_lateness: Option<Duration>,
    publish: Option<Rule>,
    subscribe: Option<Rule>,
}

impl TopicFlag {
    /// Returns the settings of a matching topic. The parts that this flag leaves out are taken from `default`.
    pub(crate) fn settings(&self, default: TopicSettings) -> TopicSettings {
        let mut settings = default;
        settings.policy = self.policy.unwrap_or(settings.policy);
        settings.queue = self.queue.unwrap_or(settings.queue);
        settings.history = self.history.unwrap_or(settings.history);
        settings.max_age = self.max_age.or(settings.max_age);
        settings.max_lateness = self.max_lateness.or(settings.max_lateness);
        settings
    }

    /// Returns who may publish and subscribe to a matching topic.
    pub(crate) fn rule(&self) -> TopicRule {
        TopicRule {
            pattern: self.pattern.clone(),
            publish: self.publish.unwrap_or_default(),
            subscribe: self.subscribe.unwrap_or_default(),
        }
    }
}

/// The maximum number of messages that a history may keep. Without this limit a typing error could exhaust the memory.
const MAX_HISTORY: usize = 1 << 20;

impl TopicFlag {
    /// The parts of the flag, which are keys in a configuration file.
    pub(crate) const KEYS: [&str; 7] = [
        "policy",
        "queue",
        "history",
        "max-age",
        "max-lateness",
        "publish",
        "subscribe",
    ];

    /// Returns the settings of a pattern without any part.
    pub(crate) fn new(pattern: String) -> TopicFlag {
        TopicFlag {
            pattern,
            policy: None,
            queue: None,
            history: None,
            max_age: None,
            max_lateness: None,
            publish: None,
            subscribe: None,
        }
    }

    /// Sets one of the [`KEYS`](Self::KEYS).
    ///
    /// # Errors
    /// The value is wrong, or the part has been set before.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let time = |value: &str| value.parse().map(|Time(time)| time);
        let is_duplicate = match key {
            "policy" => self.policy.replace(value.parse()?).is_some(),
            "queue" => self.queue.replace(queue(value)?).is_some(),
            "history" => self.history.replace(history(value)?).is_some(),
            "max-age" => self.max_age.replace(time(value)?).is_some(),
            "max-lateness" => self.max_lateness.replace(time(value)?).is_some(),
            "publish" => self.publish.replace(value.parse()?).is_some(),
            "subscribe" => self.subscribe.replace(value.parse()?).is_some(),
            _ => return Err("unknown setting".into()),
        };
        if is_duplicate {
            return Err("is given twice".into());
        }
        Ok(())
    }

    /// Returns the parts that are set, with their values as [`set`](Self::set) accepts them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let time = |time: Option<Duration>| time.map(|time| Time(time).to_string());
        let values = [
            self.policy.map(|policy| policy.to_string()),
            self.queue.map(|queue| queue.to_string()),
            self.history.map(|history| history.to_string()),
            time(self.max_age),
            time(self.max_lateness),
            self.publish.map(|rule| rule.to_string()),
            self.subscribe.map(|rule| rule.to_string()),
        ];
        let parts = Self::KEYS.into_iter().zip(values);
        parts.filter_map(|(key, value)| Some((key, value?)))
    }
}

impl FromStr for TopicFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write PATTERN:policy=P,queue=N,history=N,max-age=TIME,max-lateness=TIME,publish=RULE,subscribe=RULE, with each part at most once";
        let (pattern, rest) = text.split_once(':').ok_or(FORM)?;
        if pattern.is_empty() {
            return Err(FORM.into());
        }
        let mut flag = TopicFlag::new(pattern.into());
        for part in rest.split(',') {
            let (key, value) = part.split_once('=').ok_or(FORM)?;
            if !Self::KEYS.contains(&key) {
                return Err(format!("unknown setting {key}: {FORM}"));
            }
            (flag.set(key, value)).map_err(|error| format!("{key}: {error}"))?;
        }
        Ok(flag)
    }
}

fn history(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(history) if history <= MAX_HISTORY => Ok(history),
        Ok(_) => Err(format!("must be at most {MAX_HISTORY}")),
        Err(_) => Err("must be a number of messages like 100; 0 keeps none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_part_has_the_default_value() {
        let flag: TopicFlag = "doc-*:history=100,policy=block:1s,max-lateness=500ms"
            .parse()
            .expect("the flag is valid");
        let default = TopicSettings::default().queue(7);
        let settings = flag.settings(default);
        assert_eq!((settings.queue, settings.history), (7, 100));
        assert_eq!(settings.policy.to_string(), "block:1s");
        assert_eq!(settings.max_lateness, Some(Duration::from_millis(500)));
        assert!("a:queue=1,queue=2".parse::<TopicFlag>().is_err());
        let parts: Vec<_> = flag.parts().collect();
        let expected = ["policy block:1s", "history 100", "max-lateness 500ms"];
        let parts: Vec<_> = (parts.iter().map(|(key, value)| format!("{key} {value}"))).collect();
        assert_eq!(parts, expected);
        assert!(
            "a:publish=token,publish=token"
                .parse::<TopicFlag>()
                .is_err()
        );
        let rule = flag.rule();
        assert_eq!((rule.publish, rule.subscribe), (Rule::Anyone, Rule::Anyone));
        let flag: TopicFlag = "a:subscribe=token,publish=server"
            .parse()
            .expect("the flag is valid");
        let rule = flag.rule();
        assert_eq!((rule.publish, rule.subscribe), (Rule::Server, Rule::Token));
    }
}
