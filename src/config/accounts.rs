//! `authdata.json`: accounts, users and keys, in the shape of 2017 and in today's, or the one account
//! that environment variables name.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::given::{ConfigError, Given, Origin};
use crate::auth::account::{Account, Accounts, Credential, User};

/// What the keys of an account look like, for complaints.
const KEYS: &str = "a list of objects with access and secret";

/// Reads the file. Emails (without case), ARNs, canonical ids and access keys must each be unique
/// over all accounts and users.
pub fn read(file: &Given) -> Result<Accounts, ConfigError> {
    let mut reader = Reader { accounts: Accounts::default(), seen: HashSet::new() };
    let list = file.require("accounts", "a list of accounts")?;
    for account in items(&list, "a list of accounts")? {
        reader.account(&account)?;
    }
    Ok(reader.accounts)
}

/// The one account of a key pair that environment variables give.
pub fn of_key_pair(access_key: String, secret: String) -> Accounts {
    let account = Arc::new(Account {
        name: "CustomAccount".to_owned(),
        email: "customaccount1@setbyenv.com".to_owned(),
        arn: "arn:aws:iam::123456789012:root".to_owned(),
        canonical_id: "12349df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47qwer".to_owned(),
        short_id: "123456789012".to_owned(),
    });
    let mut accounts = Accounts::default();
    accounts.add(account.clone());
    accounts.add_key(access_key, Credential { secret, account, user: None });
    accounts
}

/// Whether any key pair of `accounts` is one of `published`, which everybody can read.
pub fn has_published_key(accounts: &Accounts, published: &Accounts) -> bool {
    published.access_keys().any(|key| {
        let secrets = accounts.key(key).zip(published.key(key));
        secrets.is_some_and(|(ours, theirs)| ours.secret == theirs.secret)
    })
}

struct Reader {
    accounts: Accounts,
    /// What must be unique, with the name of its kind.
    seen: HashSet<(&'static str, String)>,
}

impl Reader {
    fn account(&mut self, given: &Given) -> Result<(), ConfigError> {
        refuse_unless_object(given, "an object with name, email, arn, canonicalID, shortid and keys")?;
        let email = self.unique(given, "email")?.to_lowercase();
        let arn = self.unique(given, "arn")?;
        let canonical_id = self.unique(given, "canonicalID")?;
        let name = optional_text(given, "name")?.unwrap_or_else(|| email.clone());
        let short_id = short_id(given, &arn)?;
        let account = Arc::new(Account { name, email, arn, canonical_id, short_id });
        self.accounts.add(account.clone());
        if let Some(keys) = given.get("keys") {
            self.keys(&keys, &account, None)?;
        }
        if let Some(users) = given.get("users") {
            for user in items(&users, "a list of users")? {
                self.user(&user, &account)?;
            }
        }
        Ok(())
    }

    fn user(&mut self, given: &Given, account: &Arc<Account>) -> Result<(), ConfigError> {
        refuse_unless_object(given, "an object with name, email, arn and keys")?;
        let arn = self.unique(given, "arn")?;
        let email = self.unique(given, "email")?.to_lowercase();
        let name = optional_text(given, "name")?.unwrap_or(email);
        self.keys(&given.require("keys", KEYS)?, account, Some(&Arc::new(User { name, arn })))
    }

    fn keys(
        &mut self,
        given: &Given,
        account: &Arc<Account>,
        user: Option<&Arc<User>>,
    ) -> Result<(), ConfigError> {
        for key in items(given, KEYS)? {
            refuse_unless_object(&key, "an object with access and secret")?;
            let access = self.unique(&key, "access")?;
            let secret_given = key.require("secret", "a text, not empty")?;
            let secret =
                secret_given.text("").map_err(|_| secret_given.refuse_secret("a text, not empty"))?;
            let credential =
                Credential { secret: secret.to_owned(), account: account.clone(), user: user.cloned() };
            self.accounts.add_key(access, credential);
        }
        Ok(())
    }

    /// A text that must be there and must not stand anywhere else under the same key.
    fn unique(&mut self, parent: &Given, key: &'static str) -> Result<String, ConfigError> {
        let given = parent.require(key, "a text, not empty")?;
        let text = given.text("a text, not empty")?;
        let compared = if key == "email" { text.to_lowercase() } else { text.to_owned() };
        if !self.seen.insert((key, compared)) {
            return Err(given.refuse("a text that stands only once in this file"));
        }
        Ok(text.to_owned())
    }
}

/// The items of an array, each with its place. Nothing in here may repeat a value: it may be a secret.
fn items(given: &Given, allowed: &str) -> Result<Vec<Given>, ConfigError> {
    let Value::Array(items) = &given.value else { return Err(given.refuse_secret(allowed)) };
    Ok(items.iter().enumerate().map(|(index, item)| given.child(&format!("[{index}]"), item)).collect())
}

fn refuse_unless_object(given: &Given, allowed: &str) -> Result<(), ConfigError> {
    if given.value.is_object() { Ok(()) } else { Err(given.refuse_secret(allowed)) }
}

fn optional_text(parent: &Given, key: &str) -> Result<Option<String>, ConfigError> {
    let given = parent.get(key);
    given.map(|given| given.text("a text, not empty").map(str::to_owned)).transpose()
}

/// The account number: `shortid`, else the digits of the ARN. With an ARN in AWS's form it must be
/// twelve digits; the files of 2017 (`aws::iam:...`) were never checked for that.
fn short_id(given: &Given, arn: &str) -> Result<String, ConfigError> {
    let twelve_digits = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(short_id) = given.get("shortid") {
        let text = short_id.text("twelve digits")?;
        if arn.starts_with("arn:aws:iam::") && !twelve_digits(text) {
            return Err(short_id.refuse("twelve digits"));
        }
        return Ok(text.to_owned());
    }
    Ok(arn.split(':').find(|part| twelve_digits(part)).unwrap_or("000000000000").to_owned())
}

/// Refuses a file without any key: nobody could ever sign a request, which is never what was meant.
pub fn refuse_keyless(accounts: &Accounts, origin: &Origin) -> Result<(), ConfigError> {
    match accounts.access_keys().next() {
        Some(_) => Ok(()),
        None => Err(ConfigError(format!("{origin}: no account has a key; allowed: at least one key"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value) -> Result<Accounts, ConfigError> {
        read(&Given { value, origin: Origin::File { file: "authdata.json".to_owned(), key: String::new() } })
    }

    fn account(number: u8) -> Value {
        json!({ "name": format!("n{number}"), "email": format!("E{number}@x"), "canonicalID": format!("c{number}"),
            "arn": format!("arn:aws:iam::00000000000{number}:root"), "shortid": format!("00000000000{number}"),
            "keys": [{ "access": format!("a{number}"), "secret": "hunter2" }] })
    }

    #[test]
    fn the_shape_of_2017_with_users_is_read() {
        let mut bart = account(1);
        bart["arn"] = json!("aws::iam:123456789012:root");
        bart["users"] = json!([{ "name": "Jr", "email": "jr@x", "arn": "aws::iam:jr",
            "keys": [{ "access": "jr", "secret": "s" }] }]);
        bart.as_object_mut().unwrap().remove("shortid");
        let accounts = check(json!({ "accounts": [bart, account(2)] })).unwrap();
        let user = accounts.key("jr").unwrap();
        assert_eq!(user.account.canonical_id, "c1");
        assert_eq!(user.account.short_id, "123456789012");
        assert_eq!(user.user.as_ref().unwrap().name, "Jr");
        assert!(accounts.key("a2").unwrap().user.is_none());
        assert_eq!(accounts.by_email("e1@X").unwrap().canonical_id, "c1");
    }

    #[test]
    fn what_must_be_unique_is_checked_over_accounts_and_users() {
        for key in ["email", "arn", "canonicalID"] {
            let mut second = account(2);
            second[key] = account(1)[key].clone();
            let error = check(json!({ "accounts": [account(1), second] })).unwrap_err();
            assert!(error.0.starts_with(&format!("authdata.json: accounts[1].{key}: ")), "{error}");
        }
        let mut second = account(2);
        second["users"] =
            json!([{ "email": "u@x", "arn": "u", "keys": [{ "access": "a1", "secret": "s" }] }]);
        let error = check(json!({ "accounts": [account(1), second] })).unwrap_err();
        assert!(error.0.contains("accounts[1].users[0].keys[0].access: \"a1\""), "{error}");
        let mut third = account(3);
        third["email"] = json!("e1@X");
        assert!(check(json!({ "accounts": [account(1), third] })).is_err());
    }

    #[test]
    fn every_wrong_file_is_refused_without_showing_a_secret() {
        let with = |key: &str, value: Value| {
            let mut account = account(1);
            account[key] = value;
            json!({ "accounts": [account] })
        };
        for (file, part) in [
            (json!({}), "accounts: the key is missing"),
            (json!({ "accounts": { "secret": "hunter2" } }), "accounts: this value (not shown)"),
            (json!({ "accounts": ["hunter2"] }), "accounts[0]: this value"),
            (json!({ "accounts": [{}] }), "accounts[0].email: the key is missing"),
            (with("email", json!(5)), "accounts[0].email: 5"),
            (with("name", json!(5)), "accounts[0].name: 5"),
            (with("shortid", json!("12")), "accounts[0].shortid: \"12\""),
            (with("shortid", json!(12)), "accounts[0].shortid: 12"),
            (with("keys", json!({ "access": "a", "secret": "hunter2" })), "accounts[0].keys: this value"),
            (with("keys", json!([{ "access": "a", "secret": ["hunter2"] }])), "keys[0].secret: this value"),
            (with("keys", json!([{ "access": "a", "secret": "" }])), "keys[0].secret: this value"),
            (with("users", json!("hunter2")), "accounts[0].users: this value"),
            (with("users", json!([{ "email": "u", "arn": "u" }])), "users[0].keys: the key is missing"),
        ] {
            let error = check(file.clone()).unwrap_err();
            assert!(error.0.starts_with("authdata.json: accounts"), "{error}");
            assert!(error.0.contains(part) && !error.0.contains("hunter2"), "{file}: {error}");
        }
    }

    #[test]
    fn published_keys_are_recognised_in_any_file() {
        let published = check(json!({ "accounts": [account(1)] })).unwrap();
        assert!(has_published_key(&published, &published));
        let other_secret = of_key_pair("a1".to_owned(), "other".to_owned());
        assert!(!has_published_key(&other_secret, &published));
        let same_pair = of_key_pair("a1".to_owned(), "hunter2".to_owned());
        assert!(has_published_key(&same_pair, &published));
    }
}
