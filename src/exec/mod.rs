//! Running a plan: from a resolved pipeline to outcomes.
//!
//! | file | what it does |
//! |---|---|
//! | `outcome` | how a step ended, and why it has to run |
//! | `site` | all that a run works with: pipeline, plan, store, facts |
//! | `world` | what is known of the host when a step becomes ready: tools, libraries, devices, runtimes |
//! | `files` | files and folders of the user's as content of the store |
//! | `edited` | files of the user's that changed while the run went on |
//! | `secrets` | values that a step reads from a file of its own, and that nothing else ever holds |
//! | `needs` | what a step needs of the machine, and whether it is there |
//! | `lookup` | what the store has for a key, and if nothing, why |
//! | `nearest` | the stored manifest that is nearest to one without a result |
//! | `history` | the runs that the store remembers |
//! | `survey` | the dry half: key, look-up and standing of every step; `plan` stops here |
//! | `settled` | a run that found everything done, kept so that the next needs a look at each file and no more |
//! | `pools`, `slots` | room on the machine, shared with the other processes of this user |
//! | `priority` | which ready step starts first |
//! | `runner` | the loop that owns all state: ready steps, slots, events |
//! | `again` | a second round for a run that met damage |
//! | `commits` | records of finished steps, made durable together |
//! | `rebuild` | builds a step a second time, and compares |
//! | `work` | one step of class fetch or build, from its manifest to its record |
//! | `program`, `workdir` | a process of the user's, and the folder that it sees |
//! | `undeclared` | what a step reached for or left without declaring it |
//! | `grouping` | which cells are measured in turn, by the memory that they need |
//! | `measuring` | cells that take turns on the machine, each from its manifest to its session |
//! | `place`, `contained` | an engine that runs natively, or in a container |
//! | `share` | results that travel in packs, and where those came from that were not made here |
//! | `builtin` | steps that need no process of the user's |
//! | `process`, `supervisor`, `sandbox` | processes, kept to what they declared, killed with all they started |
//! | `engine`, `container`, `image` | the engine protocol's client, container runtimes, images |
//!
//! Nothing here prints, reads the environment or picks exit codes: events are the only way out.

pub mod again;
pub mod beside;
pub mod builtin;
pub mod commits;
pub mod contained;
pub mod container;
pub mod edited;
pub mod engine;
pub mod files;
pub mod grouping;
pub mod history;
pub mod image;
pub mod lookup;
pub mod measuring;
pub mod nearest;
pub mod needs;
pub mod outcome;
pub mod place;
pub mod pools;
pub mod priority;
pub mod process;
pub mod program;
pub mod rebuild;
pub mod runner;
pub mod sandbox;
pub mod secrets;
pub mod settled;
pub mod share;
pub mod site;
pub mod slots;
pub mod supervisor;
pub mod survey;
pub mod undeclared;
pub mod work;
pub mod workdir;
pub mod world;
