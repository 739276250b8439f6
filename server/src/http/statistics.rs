//! What is told of what was counted: of one context by method, and of the busiest ones.

use corelet_shard::{
    BusyContext, BusyQuestion, FailureKind, MethodRow, MethodStatistics, RankedBy, RankedOver, Sums,
};

use super::door::Front;
use super::parameters::{bad_parameter, parameters};
use super::reply::document;
use super::routes::Answer;
use crate::api;
use crate::refusal::Refusal;
use axum::http::StatusCode;

/// Contexts in one answer.
const BUSIEST_DEFAULT: usize = 20;
const BUSIEST_MAX: usize = 100;

/// Of one context.
pub(super) async fn of_context(front: &Front, wanted: &str) -> Answer {
    let id = front.shard.resolve(wanted)?;
    let found = front.shard.statistics(id).await?;
    let methods = found.rows.iter().map(|(whose, row)| api::MethodStatistics {
        method: match whose {
            MethodRow::Method(name) => name.clone(),
            MethodRow::Handlers => api::TIMERS_ROW.to_owned(),
            MethodRow::Unknown => api::UNKNOWN_ROW.to_owned(),
        },
        figures: figures(row),
    });
    let statistics = api::Statistics {
        id: id.to_string(),
        methods: methods.collect(),
    };
    Ok(document(StatusCode::OK, &statistics))
}

/// Of the contexts that have the most to do.
pub(super) async fn busiest(front: &Front, query: Option<&str>) -> Answer {
    let question = question(query)?;
    let found = front.shard.busiest(question).await?;
    let busiest = api::Busiest {
        at_us: front.facts.uptime_micros(),
        fuel: found.fuel,
        recent_us: found.recent_micros,
        recent: sums(found.recent),
        in_memory: sums(found.in_memory),
        contexts: found.contexts.iter().map(busy).collect(),
    };
    Ok(document(StatusCode::OK, &busiest))
}

fn question(query: Option<&str>) -> Result<BusyQuestion, Refusal> {
    let [by, over, limit] = parameters(query, ["by", "over", "limit"])?;
    let by = match by {
        None | Some("fuel") => RankedBy::Fuel,
        Some("calls") => RankedBy::Calls,
        Some("failures") => RankedBy::Failures,
        Some("time") => RankedBy::Time,
        Some(_) => {
            let must = "by must be fuel, calls, failures or time";
            return Err(bad_parameter("by", must));
        }
    };
    let over = match over {
        None | Some("recent") => RankedOver::Recent,
        Some("memory") => RankedOver::Memory,
        Some(_) => return Err(bad_parameter("over", "over must be recent or memory")),
    };
    let limit = match limit.map(str::parse) {
        None => BUSIEST_DEFAULT,
        Some(Ok(limit)) if (1..=BUSIEST_MAX).contains(&limit) => limit,
        Some(_) => {
            let must = format!("limit must be a number from 1 to {BUSIEST_MAX}");
            return Err(bad_parameter("limit", must));
        }
    };
    Ok(BusyQuestion { by, over, limit })
}

fn busy(busy: &BusyContext) -> api::BusyContext {
    api::BusyContext {
        id: busy.id.to_string(),
        name: busy.name.clone(),
        application: busy.application.to_string(),
        shard: busy.shard.number(),
        weight: busy.weight.get(),
        recent: sums(busy.recent),
        in_memory: sums(busy.in_memory),
        total: figures(&busy.total),
        waiting: busy.waiting,
        memory_bytes: busy.memory_bytes,
    }
}

fn sums(sums: Sums) -> api::Sums {
    api::Sums {
        calls: sums.calls,
        failures: sums.failures,
        fuel: sums.fuel,
        time_us: sums.micros,
    }
}

fn figures(row: &MethodStatistics) -> api::Figures {
    let failed = |kind: FailureKind| row.failures[kind as usize];
    api::Figures {
        calls: row.calls,
        failures: api::Failures {
            application: failed(FailureKind::Application),
            trap: failed(FailureKind::Trap),
            limit: failed(FailureKind::Limit),
            refused: failed(FailureKind::Refused),
            server: failed(FailureKind::Server),
        },
        fuel: row.fuel,
        fuel_max: row.fuel_max,
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        time_us: row.micros,
        waited_us: row.waited_micros,
        p50_us: row.times.quantile(0.5),
        p99_us: row.times.quantile(0.99),
        times: row.times.counted().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    #[test]
    fn a_question_has_a_key_a_time_and_a_bound() {
        let all = question(Some("by=time&over=memory&limit=100")).unwrap();
        assert_eq!(
            (all.by, all.over, all.limit),
            (RankedBy::Time, RankedOver::Memory, 100)
        );
        let none = question(None).unwrap();
        assert_eq!(
            (none.by, none.over, none.limit),
            (RankedBy::Fuel, RankedOver::Recent, 20)
        );
        for bad in [
            "by=x",
            "by",
            "over=now",
            "limit=0",
            "limit=101",
            "limit=",
            "after=1",
        ] {
            assert_eq!(
                question(Some(bad)).unwrap_err().code,
                Code::InvalidParams,
                "{bad}"
            );
        }
    }
}
