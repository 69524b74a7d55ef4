//! A Redis that can fail: counts as the real one does, or hangs up, stalls, refuses or talks nonsense.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As Redis.
    Well,
    /// Closes connections without an answer.
    HangsUp,
    /// Reads and never answers.
    Stalls,
    /// Answers every command as a Redis without memory does.
    IsFull,
    /// Answers in another language.
    TalksNonsense,
}

/// What it knows.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    /// The values.
    pub values: Mutex<BTreeMap<String, u64>>,
    /// For how long the keys live, as they were last told, in seconds.
    pub expiry: Mutex<BTreeMap<String, u64>>,
    mood: Mutex<Mood>,
    password: Option<&'static str>,
}

impl Redis {
    /// A Redis on a free port.
    pub fn start(mood: Mood, password: Option<&'static str>) -> Arc<Redis> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let redis = Arc::new(Redis {
            address: listener.local_addr().unwrap(),
            values: Mutex::default(),
            expiry: Mutex::default(),
            mood: Mutex::new(mood),
            password,
        });
        let serving = redis.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let redis = serving.clone();
                std::thread::spawn(move || redis.serve(stream.unwrap()));
            }
        });
        redis
    }

    /// From now on it behaves like this.
    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The sum of the values of keys with this start.
    pub fn sum(&self, start: &str) -> u64 {
        let values = self.values.lock().unwrap();
        values.iter().filter(|(key, _)| key.starts_with(start)).map(|(_, value)| value).sum()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut known = self.password.is_none();
        while let Some(command) = command(&mut reader) {
            let mood = *self.mood.lock().unwrap();
            let answer = match mood {
                Mood::HangsUp => return,
                Mood::Stalls => continue,
                Mood::IsFull => "-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_owned(),
                Mood::TalksNonsense => "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
                Mood::Well if command[0] == "AUTH" => {
                    known = Some(command[1].as_str()) == self.password;
                    let refused = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
                    if known { "+OK\r\n".to_owned() } else { refused.to_owned() }
                }
                Mood::Well if !known => "-NOAUTH Authentication required.\r\n".to_owned(),
                Mood::Well => self.answer(&command),
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, command: &[String]) -> String {
        let mut values = self.values.lock().unwrap();
        match command.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["INCRBY", key, by] => {
                let value = values.entry(key.to_owned()).or_default();
                *value += by.parse::<u64>().unwrap();
                format!(":{value}\r\n")
            }
            ["EXPIRE", key, seconds] => {
                self.expiry.lock().unwrap().insert(key.to_owned(), seconds.parse().unwrap());
                format!(":{}\r\n", u8::from(values.contains_key(key)))
            }
            ["GET", key] => match values.get(key).map(u64::to_string) {
                Some(value) => format!("${}\r\n{value}\r\n", value.len()),
                None => "$-1\r\n".to_owned(),
            },
            _ => panic!("no command that s3pail should send: {command:?}"),
        }
    }
}

/// Reads one command: an array of bulk strings. `None` at the end of the connection.
fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |start: &str, reader: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.strip_prefix(start).and_then(|rest| rest.strip_suffix("\r\n")).unwrap().parse().unwrap())
    };
    let count = number("*", reader)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number("$", reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        assert!(word.ends_with(b"\r\n"));
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).unwrap());
    }
    Some(words)
}
