//! Every type of what is stored, and which of it may be shown.

use recourse_saga_orchestrator::{fulfilment, returns};
use recourse_schema::{Catalog, Error, Redactor};

/// Every type and version of our events that has a file in `schemas/`: the aggregates' and those of
/// views.
///
/// # Errors
/// Where two have the same name, or an enum's variants have none.
pub fn events() -> Result<Catalog, Error> {
    recourse_aggregates::events()?.with_variants_of::<recourse_views::rebuild::Event>()
}

/// Every type that is in a log: these, the platform's own, those of sagas, the
/// commands that these carry and what each definition works on.
///
/// # Errors
/// Where two have the same name, or an enum's variants have none.
pub fn catalog() -> Result<Catalog, Error> {
    Catalog::new()
        .with_all_of(events()?)?
        .with_all_of(recourse_aggregates::commands()?)?
        .with_variants_of::<recourse_cqrs::PlatformEvent>()?
        .with_variants_of::<recourse_saga::Event>()?
        .with::<fulfilment::Input>(fulfilment::NAME)?
        .with::<returns::Input>(returns::NAME)
}

/// What shows stored data without its secrets.
///
/// # Errors
/// As [`catalog`].
pub fn redactor() -> Result<Redactor, Error> {
    Ok(Redactor::new(&catalog()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use recourse_schema::files;

    use super::*;

    #[test]
    fn committed_schemas_are_what_the_types_export_and_nothing_incompatible_came() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
        let report = files::compare(&events().unwrap(), &committed).unwrap();
        let broken: Vec<_> = report
            .breaches
            .iter()
            .map(|breach| format!("{} {}", breach.type_name, breach.detail))
            .collect();
        assert!(
            broken.is_empty(),
            "a new version is needed, see docs/event-versions.md: {broken:#?}"
        );
        assert!(
            report.new.is_empty() && report.changed.is_empty(),
            "run `recourse schemas export` and commit: {report:#?}"
        );
    }
}
