//! `--with-libs`: what an ELF program needs, found as its root's own loader would find it (ld.so(8), and musl's
//! ld-musl). Everything is read; nothing of the image is ever run.
//!
//! `needs` reads a program, `paths` what the root says about search directories, and this module walks the closure.

mod needs;
mod paths;
#[cfg(test)]
pub(super) mod sample;

use super::OpError;
use super::source::{Item, Source, What, join, parent};
use needs::{Machine, Needs};
use paths::Paths;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The most objects that one program may need, itself included.
const OBJECTS: usize = 4096;

/// Something a program needs at run time.
#[derive(Clone, Debug)]
pub struct Library {
    /// Path by which the loader opens it, relative to the root; may lead through symbolic links.
    pub named: Vec<u8>,
    /// The file there, links followed.
    pub item: Item,
}

/// What a selected file turned out to be.
#[derive(Debug)]
pub enum Program {
    /// No program, or one that needs nothing.
    Plain,
    /// A script and the interpreter that its `#!` line names.
    Script(String),
    /// An ELF program or library and all that it needs.
    Elf(Closure),
}

/// All that a program needs.
#[derive(Debug, Default)]
pub struct Closure {
    /// Interpreter and libraries, each once.
    pub libraries: Vec<Library>,
    /// A library was found by the root's own list of directories only: the loader of the image needs this file as well.
    pub list: Option<Vec<u8>>,
    /// A library was found relative to the program (`$ORIGIN`), which therefore must stay where it is.
    pub by_origin: bool,
}

/// Finds what programs of one root need; remembers what it has read.
#[derive(Debug)]
pub struct Loader<'s> {
    source: &'s Source<'s>,
    paths: Paths,
    read: HashMap<Vec<u8>, Option<Arc<Needs>>>,
}

/// A program or library in memory, as the loader would have it.
struct Object {
    needs: Arc<Needs>,
    /// The directory it was opened in: `$ORIGIN`.
    origin: Vec<u8>,
    path: Vec<u8>,
    /// Who asked for it.
    by: Option<usize>,
}

/// How a library was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Origin,
    List,
    Other,
}

impl<'s> Loader<'s> {
    /// A loader of this root.
    pub fn new(source: &'s Source<'s>) -> Result<Loader<'s>, OpError> {
        Ok(Loader { source, paths: Paths::read(source)?, read: HashMap::new() })
    }

    /// What `file` is and needs. Errors: `with-libs-missing` names the program, the library and where it was
    /// searched; `with-libs-damaged` a file that begins like a program and is none.
    pub fn program(&mut self, file: &Item) -> Result<Program, OpError> {
        if let Some(interpreter) = needs::script(self.source, file)? {
            return Ok(Program::Script(interpreter));
        }
        match self.needs(file)? {
            Some(needs) => Ok(Program::Elf(self.closure(file, needs)?)),
            None => Ok(Program::Plain),
        }
    }

    fn closure(&mut self, program: &Item, needs: Arc<Needs>) -> Result<Closure, OpError> {
        let mut closure = Closure::default();
        let musl = needs.is_musl();
        let mut objects = vec![Object {
            origin: parent(&program.path).to_vec(),
            path: program.path.clone(),
            by: None,
            needs: needs.clone(),
        }];
        let mut loaded: HashSet<Vec<u8>> = HashSet::new();
        if let Some(interpreter) = &needs.interpreter {
            let path = relative(interpreter);
            let item =
                self.at(&path)?.ok_or_else(|| self.missing(&objects, 0, interpreter, &[parent(&path).to_vec()]))?;
            loaded.insert(super::source::file_name(&path).to_vec());
            closure.libraries.push(Library { named: path, item });
        }
        let mut queue = VecDeque::from([0]);
        while let Some(current) = queue.pop_front() {
            let wanted = objects[current].needs.needed.clone();
            for name in wanted {
                // musl is its own libc, libpthread and so on.
                if loaded.contains(&name) || (musl && paths::is_musl_itself(&name)) {
                    continue;
                }
                let (path, item, way) = self.search(&objects, current, &name, musl)?;
                loaded.insert(name);
                let Some(needs) = self.needs(&item)? else { continue };
                loaded.extend(needs.soname.clone());
                closure.by_origin |= way == Way::Origin;
                if way == Way::List {
                    closure.list.clone_from(&self.paths.list_file(musl, needs.machine));
                }
                let origin = parent(&path).to_vec();
                closure.libraries.push(Library { named: path.clone(), item });
                if objects.len() == OBJECTS {
                    return Err(damaged(self.source, program, "it needs too many libraries"));
                }
                objects.push(Object { needs, origin, path, by: Some(current) });
                queue.push_back(objects.len() - 1);
            }
        }
        Ok(closure)
    }

    /// Finds one library for the object `current`.
    fn search(
        &mut self,
        objects: &[Object],
        current: usize,
        name: &[u8],
        musl: bool,
    ) -> Result<(Vec<u8>, Item, Way), OpError> {
        let machine = objects[0].needs.machine;
        if name.contains(&b'/') {
            let ways = paths::expand(name, &objects[current].origin, machine);
            let path = relative(ways.first().map_or(name, Vec::as_slice));
            return match self.fitting(&path, machine)? {
                Some(item) => Ok((path, item, Way::Other)),
                None => Err(self.missing(objects, current, name, &[parent(&path).to_vec()])),
            };
        }
        let mut searched: Vec<Vec<u8>> = Vec::new();
        for (dir, origin) in own_dirs(objects, current, musl) {
            let path = join(&dir, name);
            if let Some(item) = self.fitting(&path, machine)? {
                return Ok((path, item, if origin { Way::Origin } else { Way::Other }));
            }
            searched.push(dir);
        }
        let default = paths::default_dirs(musl, machine);
        for path in self.paths.listed(name, musl, machine) {
            if let Some(item) = self.fitting(&path, machine)? {
                let way = if default.iter().any(|d| d.as_slice() == parent(&path)) { Way::Other } else { Way::List };
                return Ok((path, item, way));
            }
            searched.push(parent(&path).to_vec());
        }
        for dir in default {
            let path = join(&dir, name);
            if let Some(item) = self.fitting(&path, machine)? {
                return Ok((path, item, Way::Other));
            }
            searched.push(dir);
        }
        Err(self.missing(objects, current, name, &searched))
    }

    /// The file at `path`, links followed, if it is an object for this machine.
    fn fitting(&mut self, path: &[u8], machine: Machine) -> Result<Option<Item>, OpError> {
        let Some(item) = self.at(path)? else { return Ok(None) };
        // One that can't be read as ELF is passed over, as the loader does with one of another machine.
        let fits = matches!(self.needs(&item), Ok(Some(needs)) if needs.machine == machine);
        Ok(fits.then_some(item))
    }

    fn at(&self, path: &[u8]) -> Result<Option<Item>, OpError> {
        let visible = |item: &Item| match self.source {
            Source::Context(context) => context.ignore().excluded_by(&item.path).is_none(),
            Source::Step(_) => true,
        };
        let item = self.source.find(path, true)?;
        Ok(item.filter(|i| matches!(i.what, What::File { .. }) && visible(i)))
    }

    fn needs(&mut self, item: &Item) -> Result<Option<Arc<Needs>>, OpError> {
        if let Some(needs) = self.read.get(&item.path) {
            return Ok(needs.clone());
        }
        let needs = needs::read(self.source, item)?.map(Arc::new);
        self.read.insert(item.path.clone(), needs.clone());
        Ok(needs)
    }

    fn missing(&self, objects: &[Object], current: usize, name: &[u8], searched: &[Vec<u8>]) -> OpError {
        let (program, name) = (self.source.show(&objects[0].path), String::from_utf8_lossy(name).into_owned());
        let message = format!("{} needs `{name}`, which is not in the {}", program.display(), self.source.title());
        let mut error = OpError::input("with-libs-missing", message);
        if current != 0 {
            error = error.note(format!("it is needed by {}", self.source.show(&objects[current].path).display()));
        }
        let mut dirs: Vec<String> = Vec::new();
        for dir in searched.iter().map(|d| self.source.show(d).display().to_string()) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        error
            .note(format!("searched in {}", dirs.join(", ")))
            .with_help("install the library there, or leave out --with-libs and copy what the program needs by hand")
    }
}

/// The directories that objects name themselves: DT_RPATH of the object and of those that asked for it, then
/// DT_RUNPATH (ld.so(8)). With each, whether it depends on where the program is. musl makes no difference between the
/// two and asks the whole chain.
fn own_dirs(objects: &[Object], current: usize, musl: bool) -> Vec<(Vec<u8>, bool)> {
    let mut dirs = Vec::new();
    let mut add = |object: &Object, list: &[Vec<u8>]| {
        for dir in list {
            let origin = dir.windows(6).any(|w| w == b"ORIGIN");
            let machine = objects[0].needs.machine;
            dirs.extend(paths::expand(dir, &object.origin, machine).into_iter().map(|d| (relative(&d), origin)));
        }
    };
    let own = &objects[current];
    let mut next = Some(current);
    while let Some(object) = next.and_then(|n| objects.get(n)) {
        match &object.needs.runpath {
            Some(runpath) if musl => add(object, runpath),
            None if musl || own.needs.runpath.is_none() => add(object, &object.needs.rpath),
            _ => {}
        }
        next = object.by;
    }
    if let Some(runpath) = own.needs.runpath.as_ref().filter(|_| !musl) {
        add(own, runpath);
    }
    dirs
}

/// An absolute path as one relative to the root, cleaned by its text, which is what `$ORIGIN/../lib` needs.
fn relative(path: &[u8]) -> Vec<u8> {
    super::source::components(path).fold(Vec::new(), |at, part| match part {
        b".." => parent(&at).to_vec(),
        part => join(&at, part),
    })
}

/// A file that begins like a program and can't be read as one.
fn damaged(source: &Source<'_>, item: &Item, reason: &str) -> OpError {
    OpError::input("with-libs-damaged", format!("{} is no whole ELF file: {reason}", source.show(&item.path).display()))
}
