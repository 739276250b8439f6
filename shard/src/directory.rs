//! The node's directory: which applications are installed and which name
//! stands for which context.
//!
//! Shard 0 is the keeper: its ledger holds the directory, and a change is first
//! durable there, then known everywhere, then answered. Every shard has a copy
//! in memory, so that looking up is local. Owned by its shard; says the truth
//! of the whole process as of the last change that was answered.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{ApplicationId, ApplicationRecord, Change, ContextId, Reuse};
use corelet_wasm_host::Module;

use crate::error::CallError;
use crate::message::DirectoryChange;

/// Characters of a context's name.
pub const NAME_CHARS_MAX: usize = 64;

/// What the keeper's ledger holds when the node starts.
#[derive(Clone, Default)]
pub(crate) struct DirectoryData {
    pub(crate) applications: HashMap<ApplicationId, Arc<ApplicationRecord>>,
    pub(crate) names: HashMap<Arc<str>, ContextId>,
}

/// A directory that takes no application that it has not already.
pub(crate) struct Full {
    installed: HashSet<ApplicationId>,
    max: usize,
}

impl Full {
    pub(crate) fn check(&self, id: ApplicationId) -> Result<(), CallError> {
        match self.installed.contains(&id) {
            true => Ok(()),
            false => Err(CallError::ApplicationsFull {
                used: self.installed.len() as u64,
                max: self.max as u64,
            }),
        }
    }
}

/// One shard's copy, with the modules that it has loaded.
pub(crate) struct Directory {
    data: RefCell<DirectoryData>,
    modules: RefCell<HashMap<ApplicationId, Arc<Module>>>,
    // Of applications that contexts were brought into memory of.
    reuses: RefCell<HashMap<ApplicationId, Rc<Cell<Reuse>>>>,
    // How many want to remove an application, and wait until nobody uses it.
    closed: RefCell<HashMap<ApplicationId, usize>>,
}

impl Directory {
    pub(crate) fn new(data: DirectoryData) -> Directory {
        Directory {
            data: RefCell::new(data),
            modules: RefCell::default(),
            reuses: RefCell::default(),
            closed: RefCell::default(),
        }
    }

    /// From now on no contexts of this application are made.
    pub(crate) fn close(&self, id: ApplicationId) {
        *self.closed.borrow_mut().entry(id).or_default() += 1;
    }

    /// Takes one [`close`](Self::close) back.
    pub(crate) fn reopen(&self, id: ApplicationId) {
        let mut closed = self.closed.borrow_mut();
        if let Some(count) = closed.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                closed.remove(&id);
            }
        }
    }

    pub(crate) fn check_open(&self, id: ApplicationId) -> Result<(), CallError> {
        match self.closed.borrow().contains_key(&id) {
            true => Err(CallError::ApplicationClosed { application: id }),
            false => Ok(()),
        }
    }

    pub(crate) fn name(&self, name: &str) -> Option<ContextId> {
        self.data.borrow().names.get(name).copied()
    }

    /// The name that stands for a context. Looks through all names.
    pub(crate) fn name_of(&self, context: ContextId) -> Option<Arc<str>> {
        let data = self.data.borrow();
        let mut names = data.names.iter();
        let found = names.find(|(_, holder)| **holder == context);
        found.map(|(name, _)| Arc::clone(name))
    }

    pub(crate) fn application(&self, id: &ApplicationId) -> Option<Arc<ApplicationRecord>> {
        self.data.borrow().applications.get(id).cloned()
    }

    pub(crate) fn application_ids(&self) -> HashSet<ApplicationId> {
        self.data.borrow().applications.keys().copied().collect()
    }

    pub(crate) fn applications_count(&self) -> usize {
        self.data.borrow().applications.len()
    }

    /// All applications, oldest first.
    pub(crate) fn applications(&self) -> Vec<Arc<ApplicationRecord>> {
        let mut all: Vec<_> = self.data.borrow().applications.values().cloned().collect();
        all.sort_by_key(|record| (record.installed, record.id));
        all
    }

    /// The ids of all applications if there are `max` of them or more.
    pub(crate) fn if_full(&self, max: usize) -> Option<Full> {
        let applications = &self.data.borrow().applications;
        (applications.len() >= max).then(|| Full {
            installed: applications.keys().copied().collect(),
            max,
        })
    }

    pub(crate) fn module(&self, id: &ApplicationId) -> Option<Arc<Module>> {
        self.modules.borrow().get(id).cloned()
    }

    pub(crate) fn keep_module(&self, id: ApplicationId, module: Arc<Module>) {
        self.modules.borrow_mut().insert(id, module);
    }

    /// Whether instances of an application are kept, now and whenever it is looked at.
    pub(crate) fn reuse(&self, id: ApplicationId) -> Rc<Cell<Reuse>> {
        let now = || {
            let record = self.application(&id);
            Rc::new(Cell::new(
                record.map_or_else(Reuse::default, |record| record.reuse),
            ))
        };
        let mut reuses = self.reuses.borrow_mut();
        Rc::clone(reuses.entry(id).or_insert_with(now))
    }

    /// Takes a change in.
    pub(crate) fn learn(&self, change: DirectoryChange) {
        let mut data = self.data.borrow_mut();
        match change {
            DirectoryChange::PutApplication(record) => {
                if let Some(reuse) = self.reuses.borrow().get(&record.id) {
                    reuse.set(record.reuse);
                }
                data.applications.insert(record.id, record);
            }
            DirectoryChange::RemoveApplication(id) => {
                data.applications.remove(&id);
                self.modules.borrow_mut().remove(&id);
                self.reuses.borrow_mut().remove(&id);
            }
            DirectoryChange::PutName { name, context } => {
                data.names.insert(name, context);
            }
            DirectoryChange::RemoveName { name, context } => {
                if data.names.get(&name) == Some(&context) {
                    data.names.remove(&name);
                }
            }
        }
    }
}

/// The change of the keeper's ledger that makes a change of the directory durable.
pub(crate) fn durable_change(change: &DirectoryChange) -> Change {
    match change {
        DirectoryChange::PutApplication(record) => {
            Change::PutApplication(ApplicationRecord::clone(record))
        }
        DirectoryChange::RemoveApplication(id) => Change::RemoveApplication(*id),
        DirectoryChange::PutName { name, context } => Change::PutName {
            name: name.to_string(),
            context: *context,
        },
        DirectoryChange::RemoveName { name, context } => Change::RemoveName {
            name: name.to_string(),
            context: *context,
        },
    }
}

/// Whether a context may have this name.
pub(crate) fn check_name(name: &str) -> Result<(), CallError> {
    let bad = |why| {
        Err(CallError::BadName {
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            why,
        })
    };
    if name.is_empty() || name.len() > NAME_CHARS_MAX {
        return bad("a name has 1 to 64 characters");
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return bad("a name consists of a-z, A-Z, 0-9, '-', '_' and '.'");
    }
    if matches!(name, "." | "..") {
        return bad("in a path it is another place, so that nothing could reach the context by it");
    }
    if name.parse::<ContextId>().is_ok() {
        return bad("it reads like a context's id");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deleted one may only say that it has the name.
    #[test]
    fn a_name_is_forgotten_only_for_the_context_that_has_it() {
        let directory = Directory::new(DirectoryData::default());
        let [elder, holder] = [1, 2].map(|n| ContextId::from_bytes([n; 32]));
        let name: Arc<str> = Arc::from("room");
        let remove = |context| {
            let name = Arc::clone(&name);
            directory.learn(DirectoryChange::RemoveName { name, context });
            directory.name("room")
        };
        directory.learn(DirectoryChange::PutName {
            name: Arc::clone(&name),
            context: holder,
        });
        assert_eq!(remove(elder), Some(holder));
        assert_eq!(remove(holder), None);
    }

    #[test]
    fn a_name_is_short_plain_and_no_id() {
        let id = ContextId::random().to_string();
        for (name, good) in [
            ("a", true),
            ("chat-room_7.b", true),
            ("", false),
            ("a b", false),
            ("ü", false),
            (".", false),
            ("..", false),
            ("...", true),
            ("..a", true),
            (&*id, false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
        assert!(check_name(&"x".repeat(64)).is_ok());
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
