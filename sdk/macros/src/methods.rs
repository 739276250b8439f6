//! `#[corelet::methods]`: an impl block becomes the dispatch, the description
//! and the component's exports. One method is in `method.rs`.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ItemImpl, Type};

use crate::attributes::{self, Mark};
use crate::method::{self, Method};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut item: ItemImpl = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            let error = Error::new(
                error.span(),
                format!("the methods of an application are an impl block: {error}"),
            );
            return error.into_compile_error();
        }
    };
    match application(attribute, &mut item) {
        Ok(application) => quote!(#item #application),
        Err(error) => {
            // The block stays, so that the compiler does not complain about
            // missing methods as well.
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

/// The `Application` impl and the exports; takes our marks off the methods.
fn application(attribute: TokenStream, item: &mut ItemImpl) -> syn::Result<TokenStream> {
    let Read {
        methods,
        handlers,
        hooks,
        init,
    } = read(item)?;
    if !attribute.is_empty() {
        let message = "`#[corelet::methods]` takes no arguments";
        return Err(Error::new(attribute.span(), message));
    }
    if let Some((_, path, _)) = &item.trait_ {
        let message = "methods stand in an impl block of the application itself, not of a trait";
        return Err(Error::new(path.span(), message));
    }
    if !item.generics.params.is_empty() {
        let message = "an application is not generic: its state must be the same everywhere";
        return Err(Error::new(item.generics.span(), message));
    }
    if methods.is_empty() && handlers.is_empty() && init.is_none() {
        let message = "nothing can be called: mark methods with `#[query]` or `#[update]`";
        return Err(Error::new(method::here(), message));
    }
    let hooks = write_hooks(&item.self_ty, &hooks);
    Ok(write(
        &item.self_ty,
        &methods,
        &handlers,
        &hooks,
        init.as_ref(),
    ))
}

/// The marked methods of an impl block.
struct Read {
    methods: Vec<Method>,
    handlers: Vec<Method>,
    hooks: Vec<Method>,
    init: Option<Method>,
}

fn read(item: &mut ItemImpl) -> syn::Result<Read> {
    let mut methods: Vec<Method> = Vec::new();
    let mut handlers: Vec<Method> = Vec::new();
    let mut hooks: Vec<Method> = Vec::new();
    let mut init: Option<Method> = None;
    let mut problems: Option<Error> = None;
    for function in &mut item.items {
        let ImplItem::Fn(function) = function else {
            continue;
        };
        let read = attributes::take_mark(&mut function.attrs).and_then(|mark| match mark {
            Some(mark) => Method::read(function, mark).map(Some),
            None => Ok(None),
        });
        let problem = match read {
            Ok(None) => continue,
            Ok(Some(method)) if method.mark == Mark::Init => match &init {
                None => {
                    init = Some(method);
                    continue;
                }
                Some(first) => Error::new(
                    method.ident.span(),
                    format!(
                        "an application has one init method, and `{}` is it",
                        first.name()
                    ),
                ),
            },
            Ok(Some(method)) if method.mark.is_hook() => {
                let Some(first) = hooks.iter().find(|hook| hook.mark == method.mark) else {
                    hooks.push(method);
                    continue;
                };
                let message = format!(
                    "an application has one method marked `#[{}]`, and `{}` is it",
                    method.mark.name(),
                    first.name()
                );
                Error::new(method.ident.span(), message)
            }
            Ok(Some(method)) => {
                let mut others = methods.iter().chain(&handlers);
                if others.all(|other| other.name() != method.name()) {
                    match method.mark {
                        Mark::Handler => handlers.push(method),
                        _ => methods.push(method),
                    }
                    continue;
                }
                Error::new(
                    method.ident.span(),
                    format!("there is a method `{}` already", method.name()),
                )
            }
            Err(error) => error,
        };
        match &mut problems {
            Some(problems) => problems.combine(problem),
            None => problems = Some(problem),
        }
    }
    match problems {
        Some(problems) => Err(problems),
        None => Ok(Read {
            methods,
            handlers,
            hooks,
            init,
        }),
    }
}

/// What runs hooks, and what exports them.
struct Hooks {
    functions: Vec<TokenStream>,
    exports: Vec<TokenStream>,
    /// What does not compile if one of them could never run.
    check: Option<TokenStream>,
}

fn write_hooks(app: &Type, hooks: &[Method]) -> Hooks {
    let export = |hook: &Method| {
        let module = Ident::new(hook.mark.name(), hook.ident.span());
        let export = Ident::new(&format!("export_{}", hook.mark.name()), hook.ident.span());
        quote! {
            ::corelet_sdk::hook_bindings::#module::#export!(
                Guest with_types_in ::corelet_sdk::hook_bindings::#module
            );
        }
    };
    Hooks {
        functions: hooks.iter().map(|hook| hook.hook(app)).collect(),
        exports: hooks.iter().map(export).collect(),
        check: hooks.iter().find(|hook| hook.mark == Mark::Migrate).map(|_| {
            quote! {
                const _: () = ::core::assert!(
                    <#app as ::corelet_sdk::private::State>::SCHEMA_VERSION > 0,
                    "`#[migrate]` brings state into the application's schema version: say which that is, `#[corelet::application(schema_version = N)]`",
                );
            }
        }),
    }
}

fn write(
    app: &Type,
    methods: &[Method],
    handlers: &[Method],
    hooks: &Hooks,
    init: Option<&Method>,
) -> TokenStream {
    let Hooks {
        functions,
        exports,
        check,
    } = hooks;
    let handle = (!handlers.is_empty()).then(|| handle(app, handlers));
    // Only who has handlers exports what runs them, so that all others stay as they were.
    let export_handlers = (!handlers.is_empty()).then(|| {
        quote! {
            ::corelet_sdk::handler_bindings::export_handlers!(
                Guest with_types_in ::corelet_sdk::handler_bindings
            );
        }
    });
    let arms = methods.iter().map(|method| method.arm(app));
    let descriptions = methods.iter().map(Method::description);
    let init_parameters = match init {
        Some(init) => init.parameters_description(),
        None => quote!(&[]),
    };
    let init = match init {
        Some(init) => {
            let call = init.call(app);
            quote!(::corelet_sdk::private::InitReturned::reply(#call))
        }
        None => quote! {{
            #[derive(::corelet_sdk::private::serde::Deserialize)]
            #[serde(crate = "::corelet_sdk::private::serde", deny_unknown_fields)]
            struct Arguments {}
            let Arguments {} = ::corelet_sdk::private::parse("init", args)?;
            ::core::result::Result::Ok(())
        }},
    };
    quote! {
        #[automatically_derived]
        impl ::corelet_sdk::private::Application for #app {
            const DESCRIPTION: ::corelet_sdk::private::Description =
                ::corelet_sdk::private::Description {
                    methods: &[#(#descriptions),*],
                    init_parameters: #init_parameters,
                };

            fn init(args: &[u8]) -> ::core::result::Result<(), ::std::vec::Vec<u8>> {
                #init
            }

            fn call(method: &str, args: &[u8]) -> ::corelet_sdk::private::Reply {
                // Which of the two fits depends on what the method returns.
                #[allow(unused_imports)]
                use ::corelet_sdk::private::{ResultReply as _, ValueReply as _};
                match method {
                    #(#arms)*
                    _ => ::core::result::Result::Err(
                        ::corelet_sdk::private::unknown_method(method),
                    ),
                }
            }

            #handle

            #(#functions)*
        }

        #check

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Guest = ::corelet_sdk::guest::Guest<#app>;
            ::corelet_sdk::bindings::export_application!(Guest with_types_in ::corelet_sdk::bindings);
            #export_handlers
            #(#exports)*
        };
    }
}

/// The dispatch of handlers.
fn handle(app: &Type, handlers: &[Method]) -> TokenStream {
    let arms = handlers.iter().map(|handler| handler.arm(app));
    quote! {
        fn handle(handler: &str, args: &[u8]) -> ::corelet_sdk::private::Reply {
            #[allow(unused_imports)]
            use ::corelet_sdk::private::{ResultReply as _, ValueReply as _};
            match handler {
                #(#arms)*
                _ => ::core::result::Result::Err(
                    ::corelet_sdk::private::unknown_handler(handler),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(item: TokenStream, expected: &str) {
        let expanded = expand(quote!(), item).to_string();
        assert!(expanded.contains(expected), "{expected}\nin\n{expanded}");
    }

    /// One method in an impl block, and what the macro says about it.
    #[track_caller]
    fn check_method(method: TokenStream, expected: &str) {
        check(quote!(impl App { #method }), expected);
    }

    #[test]
    fn the_kind_decides_how_the_application_is_taken() {
        check_method(
            quote!(
                #[query]
                fn m(&mut self) {}
            ),
            "a query takes `&self`",
        );
        check_method(
            quote!(
                #[update]
                fn m(&self) {}
            ),
            "an update takes `&mut self`",
        );
        check_method(
            quote!(
                #[init]
                fn m(&self) {}
            ),
            "an init method takes `&mut self`",
        );
        check_method(
            quote!(
                #[update]
                fn m(self) {}
            ),
            "an update takes `&mut self`",
        );
        check_method(
            quote!(
                #[query]
                fn m(key: u8) {}
            ),
            "`self` is missing",
        );
        check_method(
            quote!(
                #[query]
                fn m() {}
            ),
            "`self` is missing",
        );
    }

    #[test]
    fn marks_are_known_single_and_plain() {
        check_method(
            quote!(
                #[qurey]
                fn m(&self) {}
            ),
            "unknown attribute `#[qurey]`",
        );
        check_method(
            quote!(
                #[query]
                #[update]
                fn m(&self) {}
            ),
            "a method has one mark",
        );
        check_method(
            quote!(
                #[query]
                #[query]
                fn m(&self) {}
            ),
            "a method has one mark",
        );
        check_method(
            quote!(
                #[query(fast)]
                fn m(&self) {}
            ),
            "`#[query]` takes no arguments",
        );
        check_method(
            quote!(
                #[query]
                #[cfg(test)]
                fn m(&self) {}
            ),
            "cannot depend on `cfg`",
        );
        check_method(
            quote!(
                #[query]
                #[tokio::main]
                fn m(&self) {}
            ),
            "unknown attribute `#[tokio::main]`",
        );
    }

    #[test]
    fn types_are_fixed_and_names_plain() {
        check_method(
            quote!(
                #[query]
                fn m<T>(&self, a: T) {}
            ),
            "a method is not generic",
        );
        check_method(
            quote!(
                #[query]
                fn m(&self, a: impl Into<String>) {}
            ),
            "a method is not generic",
        );
        check_method(
            quote!(
                #[query]
                fn m(&self, (a, b): (u8, u8)) {}
            ),
            "a plain name, not a pattern",
        );
        check_method(
            quote!(
                #[query]
                fn m(&self, _: u8) {}
            ),
            "a plain name, not a pattern",
        );
        check_method(
            quote!(
                #[query]
                fn m(&self, a: &[u8]) {}
            ),
            "an owned type or `&str`",
        );
        check_method(
            quote!(
                #[query]
                fn m(&self) -> impl Iterator {}
            ),
            "returns a named type",
        );
        check_method(
            quote!(
                #[query]
                async fn m(&self) {}
            ),
            "a method is not `async`",
        );
        check_method(
            quote!(
                #[query]
                unsafe fn m(&self) {}
            ),
            "a method is not `unsafe`",
        );
    }

    #[test]
    fn names_are_unique() {
        check(
            quote!(
                impl App {
                    #[query]
                    fn m(&self) {}
                    #[update]
                    fn m(&mut self) {}
                }
            ),
            "there is a method `m` already",
        );
        check(
            quote!(
                impl App {
                    #[init]
                    fn a(&mut self) {}
                    #[init]
                    fn b(&mut self) {}
                }
            ),
            "one init method, and `a` is it",
        );
    }

    #[test]
    fn handlers_are_dispatched_apart_and_told_to_nobody() {
        let item = quote!(
            impl App {
                #[update]
                fn m(&mut self) {}
                #[handler]
                fn h(&mut self, round: u8) {}
            }
        );
        let expanded = expand(quote!(), item).to_string();
        let (description, dispatch) = expanded.split_once("fn init").unwrap();
        assert!(description.contains(r#"name : "m""#) && !description.contains(r#"name : "h""#));
        let (call, handle) = dispatch.split_once("fn handle").unwrap();
        assert!(call.contains(r#""m" =>"#) && !call.contains(r#""h" =>"#));
        assert!(handle.contains(r#""h" =>"#) && !handle.contains(r#""m" =>"#));
        assert!(handle.contains("export_handlers"));
        let without = quote!(
            impl App {
                #[update]
                fn m(&mut self) {}
            }
        );
        let without = expand(quote!(), without).to_string();
        assert!(!without.contains("handle"), "it is as it was without any");
        check_method(
            quote!(
                #[handler]
                fn h(&self) {}
            ),
            "a handler takes `&mut self`",
        );
    }

    #[test]
    fn hooks_are_exported_each_by_itself_and_told_to_nobody() {
        let item = quote!(
            impl App {
                #[update]
                fn m(&mut self) {}
                #[migrate]
                fn bring_over(&mut self, from: u64) -> Result<(), Error> {}
                #[after_upgrade]
                fn begin_anew(&mut self) {}
            }
        );
        let expanded = expand(quote!(), item).to_string();
        let (description, rest) = expanded.split_once("fn init").unwrap();
        assert!(!description.contains(r#"name : "bring_over""#));
        assert!(rest.contains("fn migrate (from : u64)") && rest.contains("fn after_upgrade ()"));
        assert!(rest.contains("SCHEMA_VERSION > 0"), "it would never run");
        assert!(rest.contains("const MIGRATES : bool = true"));
        assert!(rest.contains("export_migrate") && rest.contains("export_after_upgrade"));
        assert!(!rest.contains("before_upgrade"), "it has none");
        check_method(
            quote!(
                #[migrate]
                fn m(&mut self) {}
            ),
            "takes the schema version",
        );
        check_method(
            quote!(
                #[before_upgrade]
                fn m(&mut self, why: String) {}
            ),
            "nothing is handed to this hook",
        );
        check_method(
            quote!(
                #[after_upgrade]
                fn m(&self) {}
            ),
            "a hook takes `&mut self`",
        );
        check_method(
            quote!(
                #[inspect]
                fn m(&mut self, method: &str, args: &[u8]) {}
            ),
            "this hook takes `&self`",
        );
        check_method(
            quote!(
                #[inspect]
                fn m(&self, method: &str) {}
            ),
            "takes the update's name and its arguments",
        );
        check_method(
            quote!(
                #[low_memory]
                fn m(&mut self) {}
            ),
            "this hook takes `&self`",
        );
        check_method(
            quote!(
                #[stop]
                fn m(&self) {}
            ),
            "a hook takes `&mut self`",
        );
        let all = quote!(
            impl App {
                #[update]
                fn m(&mut self) {}
                #[inspect]
                fn look(&self, method: &str, args: &[u8]) -> Result<(), Error> {}
                #[stop]
                fn end(&mut self) {}
                #[low_memory]
                fn shrink(&self) {}
            }
        );
        let all = expand(quote!(), all).to_string();
        assert!(all.contains("const INSPECTS : bool = true"));
        for export in ["export_inspect", "export_stop", "export_low_memory"] {
            assert!(all.contains(export), "{export}");
        }
        assert!(!expanded.contains("INSPECTS"), "it has none");
        check(
            quote!(
                impl App {
                    #[migrate]
                    fn a(&mut self, from: u64) {}
                    #[migrate]
                    fn b(&mut self, from: u64) {}
                }
            ),
            "one method marked `#[migrate]`, and `a` is it",
        );
    }

    #[test]
    fn the_block_is_the_applications_own() {
        check(
            quote!(
                impl Trait for App {
                    #[query]
                    fn m(&self) {}
                }
            ),
            "not of a trait",
        );
        check(
            quote!(
                impl<T> App<T> {
                    #[query]
                    fn m(&self) {}
                }
            ),
            "an application is not generic",
        );
        check(
            quote!(
                impl App {
                    fn m(&self) {}
                }
            ),
            "nothing can be called",
        );
        check(
            quote!(
                struct App;
            ),
            "are an impl block",
        );
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let expanded = expand(
            quote!(),
            quote!(
                impl App {
                    #[query]
                    fn a(&mut self) {}
                    #[update]
                    fn b(&self, (c, d): (u8, u8)) {}
                }
            ),
        );
        let errors = expanded.to_string().matches("compile_error").count();
        assert_eq!(errors, 3);
    }

    #[test]
    fn the_description_says_what_the_author_wrote() {
        let item = quote!(
            impl App {
                /// Finds it.
                ///
                /// Really.
                #[query]
                fn find(&self, key: &str, r#type: Option<u32>) -> Result<Vec<u8>, Error> {}
                #[init]
                fn start(&mut self, owner: String) {}
                fn helper(&self) {}
            }
        );
        check(item.clone(), r#"doc : "Finds it.\n\nReally.""#);
        check(item.clone(), r#"returns : "Result<Vec<u8>, Error>""#);
        check(item.clone(), r#"name : "key" , type_name : "&str""#);
        check(item.clone(), r#"name : "type" , type_name : "Option<u32>""#);
        check(
            item.clone(),
            r#"init_parameters : & [:: corelet_sdk :: private :: Parameter { name : "owner""#,
        );
        let expanded = expand(quote!(), item).to_string();
        assert!(!expanded.contains(r#"name : "helper""#));
        assert!(!expanded.contains("# [query]"), "our marks are taken off");
    }
}
