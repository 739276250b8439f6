//! One marked method: read from the source, checked, and written as an arm of
//! the dispatch and an entry of the description.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ImplItemFn, Pat, PatType, ReturnType, Type, TypeReference};

use crate::attributes::{self, Mark};
use crate::type_name::type_name;

/// A marked method whose shape was checked.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) mark: Mark,
    parameters: Vec<Parameter>,
    returns: Type,
    doc: String,
}

struct Parameter {
    ident: Ident,
    ty: Type,
    /// `&str`: the arguments keep it as `Cow<str>`, borrowed if it needs no
    /// unescaping.
    text: bool,
}

impl Method {
    pub(crate) fn read(function: &ImplItemFn, mark: Mark) -> syn::Result<Method> {
        let mut problems = Problems(None);
        let signature = &function.sig;
        if let Some(asyncness) = &signature.asyncness {
            problems.report(
                asyncness,
                "a method is not `async`: a call runs to its end at once",
            );
        }
        if let Some(unsafety) = &signature.unsafety {
            problems.report(unsafety, "a method is not `unsafe`: anybody may call it");
        }
        if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
            problems.report(
                &signature.generics,
                "a method is not generic: callers send JSON, so its types must be fixed",
            );
        }
        receiver(function, mark, &mut problems);
        if mark.is_hook() {
            parameters_of_hook(function, mark, &mut problems);
        }
        let mut parameters = Vec::new();
        for argument in &signature.inputs {
            // What hooks are handed comes from no caller, and was looked at above.
            if let FnArg::Typed(typed) = argument
                && !mark.is_hook()
            {
                parameters.extend(Parameter::read(typed, &mut problems));
            }
        }
        let returns = match &signature.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        if let Type::ImplTrait(_) = returns {
            problems.report(
                &returns,
                "a method returns a named type, not `impl Trait`: the description names it",
            );
        }
        problems.into_result()?;
        Ok(Method {
            ident: signature.ident.clone(),
            mark,
            parameters,
            returns,
            doc: attributes::doc(&function.attrs),
        })
    }

    /// The name by which callers know the method.
    pub(crate) fn name(&self) -> String {
        plain(&self.ident)
    }

    /// The block that parses the arguments and calls the method; it evaluates
    /// to what the method returned, and leaves with an error before.
    pub(crate) fn call(&self, app: &Type) -> TokenStream {
        let ident = &self.ident;
        let name = self.name();
        let names: Vec<_> = self.parameters.iter().map(|p| &p.ident).collect();
        let fields = self.parameters.iter().map(|parameter| {
            let Parameter { ident, ty, text } = parameter;
            if *text {
                quote!(#[serde(borrow)] #ident: ::std::borrow::Cow<'a, str>)
            } else {
                quote!(#ident: #ty)
            }
        });
        let values = self.parameters.iter().map(|parameter| {
            let ident = &parameter.ident;
            if parameter.text {
                quote!(&*#ident)
            } else {
                quote!(#ident)
            }
        });
        let lifetime = self.parameters.iter().any(|p| p.text).then(|| quote!(<'a>));
        let mutable = self.mark.may_write().then(|| quote!(mut));
        quote! {{
            #[derive(::corelet_sdk::private::serde::Deserialize)]
            #[serde(crate = "::corelet_sdk::private::serde", deny_unknown_fields)]
            struct Arguments #lifetime { #(#fields),* }
            let Arguments { #(#names),* } = ::corelet_sdk::private::parse(#name, args)?;
            let #mutable application = <#app as ::corelet_sdk::private::State>::open();
            application.#ident(#(#values),*)
        }}
    }

    /// The trait's function that runs the method as a hook.
    pub(crate) fn hook(&self, app: &Type) -> TokenStream {
        let ident = &self.ident;
        let function = Ident::new(self.mark.name(), ident.span());
        let (parameter, argument) = match self.mark {
            Mark::Migrate => (quote!(from: u64), quote!(from)),
            Mark::Inspect => (quote!(method: &str, args: &[u8]), quote!(method, args)),
            _ => (quote!(), quote!()),
        };
        let mutable = self.mark.may_write().then(|| quote!(mut));
        let there_is = match self.mark {
            Mark::Inspect => Some(quote!(INSPECTS)),
            Mark::Migrate => Some(quote!(MIGRATES)),
            _ => None,
        };
        let there_is = there_is.map(|is| quote!(const #is: bool = true;));
        quote! {
            #there_is

            fn #function(#parameter) -> ::core::result::Result<(), ::std::vec::Vec<u8>> {
                let #mutable application = <#app as ::corelet_sdk::private::State>::open();
                #[allow(clippy::let_unit_value)]
                let returned = application.#ident(#argument);
                ::corelet_sdk::private::InitReturned::reply(returned)
            }
        }
    }

    /// The arm of the dispatch.
    pub(crate) fn arm(&self, app: &Type) -> TokenStream {
        let name = self.name();
        let returns = &self.returns;
        let call = self.call(app);
        // Spanned at the type, so that the compiler points at it.
        let check = quote_spanned! { returns.span() =>
            ::corelet_sdk::private::assert_serialize::<#returns>();
        };
        quote! {
            #name => {
                #check
                #[allow(clippy::let_unit_value)]
                let returned = ::corelet_sdk::private::Returned(#call);
                returned.reply()
            }
        }
    }

    /// The entry of the description.
    pub(crate) fn description(&self) -> TokenStream {
        let name = self.name();
        let kind = match self.mark {
            Mark::Query => quote!(Query),
            _ => quote!(Update),
        };
        let parameters = self.parameters_description();
        let returns = type_name(&self.returns);
        let doc = &self.doc;
        quote! {
            ::corelet_sdk::private::Method {
                name: #name,
                kind: ::corelet_sdk::private::MethodKind::#kind,
                parameters: #parameters,
                returns: #returns,
                doc: #doc,
            }
        }
    }

    pub(crate) fn parameters_description(&self) -> TokenStream {
        let parameters = self.parameters.iter().map(|parameter| {
            let name = plain(&parameter.ident);
            let type_name = type_name(&parameter.ty);
            quote! {
                ::corelet_sdk::private::Parameter { name: #name, type_name: #type_name }
            }
        });
        quote!(&[#(#parameters),*])
    }
}

impl Parameter {
    fn read(typed: &PatType, problems: &mut Problems) -> Option<Parameter> {
        for attribute in &typed.attrs {
            problems.report(
                attribute,
                "a parameter takes no attributes; a type of your own may say how it is read",
            );
        }
        let Pat::Ident(name) = &*typed.pat else {
            problems.report(
                &typed.pat,
                "a parameter is a plain name, not a pattern: callers send it by that name",
            );
            return None;
        };
        if name.by_ref.is_some() || name.subpat.is_some() {
            problems.report(name, "a parameter is a plain name, not a pattern");
            return None;
        }
        let text = is_text(&typed.ty);
        match &*typed.ty {
            Type::Reference(_) if !text => {
                problems.report(
                    &typed.ty,
                    "a parameter is an owned type or `&str`: it is made from the caller's JSON",
                );
                None
            }
            Type::ImplTrait(_) => {
                problems.report(
                    &typed.ty,
                    "a method is not generic: callers send JSON, so its types must be fixed",
                );
                None
            }
            ty => Some(Parameter {
                ident: name.ident.clone(),
                ty: ty.clone(),
                text,
            }),
        }
    }
}

/// Checks how the method takes the application.
fn receiver(function: &ImplItemFn, mark: Mark, problems: &mut Problems) {
    let expected = match mark {
        Mark::Query => "a query takes `&self`: it may only read",
        Mark::Update => "an update takes `&mut self`",
        Mark::Init => "an init method takes `&mut self`",
        Mark::Handler => "a handler takes `&mut self`",
        Mark::Migrate | Mark::BeforeUpgrade | Mark::AfterUpgrade | Mark::Stop => {
            "a hook takes `&mut self`"
        }
        Mark::Inspect | Mark::LowMemory => "this hook takes `&self`: it may only read",
    };
    match function.sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            let by_reference = receiver.reference.is_some() && receiver.colon_token.is_none();
            let mutable = receiver.mutability.is_some();
            if !by_reference || mutable != mark.may_write() {
                problems.report(receiver, expected);
            }
        }
        _ => {
            let message = format!("`self` is missing: {expected}");
            problems.report(&function.sig.ident, &message);
        }
    }
}

/// Checks what a hook takes beside the application.
fn parameters_of_hook(function: &ImplItemFn, mark: Mark, problems: &mut Problems) {
    let mut types = function
        .sig
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(typed) => Some(&*typed.ty),
            FnArg::Receiver(_) => None,
        });
    let is_number = |ty: &Type| matches!(ty, Type::Path(path) if path.path.is_ident("u64"));
    let (is_good, message) = match mark {
        Mark::Migrate => (
            types.next().is_some_and(is_number) && types.next().is_none(),
            "`#[migrate]` takes the schema version that the state is in: `from: u64`",
        ),
        Mark::Inspect => (
            types.next().is_some_and(is_text)
                && types.next().is_some_and(is_bytes)
                && types.next().is_none(),
            "`#[inspect]` takes the update's name and its arguments: `method: &str, args: &[u8]`",
        ),
        _ => (
            types.next().is_none(),
            "nothing is handed to this hook, so it takes the application alone",
        ),
    };
    if !is_good {
        problems.report(&function.sig, message);
    }
}

/// Errors at several places of one method, reported together.
struct Problems(Option<Error>);

impl Problems {
    fn report(&mut self, at: &impl quote::ToTokens, message: &str) {
        let error = Error::new_spanned(at, message);
        match &mut self.0 {
            Some(problems) => problems.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

fn is_text(ty: &Type) -> bool {
    match ty {
        Type::Reference(TypeReference {
            mutability: None,
            lifetime: None,
            elem,
            ..
        }) => matches!(&**elem, Type::Path(path) if path.path.is_ident("str")),
        _ => false,
    }
}

fn is_bytes(ty: &Type) -> bool {
    let Type::Reference(TypeReference {
        mutability: None,
        lifetime: None,
        elem,
        ..
    }) = ty
    else {
        return false;
    };
    let Type::Slice(slice) = &**elem else {
        return false;
    };
    matches!(&*slice.elem, Type::Path(path) if path.path.is_ident("u8"))
}

fn plain(ident: &Ident) -> String {
    let name = ident.to_string();
    match name.strip_prefix("r#") {
        Some(plain) => plain.to_owned(),
        None => name,
    }
}

/// Where the whole impl block is meant.
pub(crate) fn here() -> Span {
    Span::call_site()
}
