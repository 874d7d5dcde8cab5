(* Reads networks from standard input, one node a line, and runs the checker that was extracted from its proof.

   Trusted: this file, the writer of the lines (graph_text.py), zarith, and the compiler. A network starts with a line
   "network NAME"; for each, one line is printed: "accepted NAME COUNT" or "refused NAME INDEX: REASON". With --masks a
   line "mask NAME INDEX PLACES" stands before it for every node that a mask reaches. A node is

     operation and its numbers ; kind rank sizes… ; how many arguments, and how far back each is ; claim

   with whole numbers in decimal, rationals as p/q, "-" for what is missing or infinite. The claim is "nothing" or
   "bounds LOW HIGH MASK CLASS", an end "-", "closed:p/q" or "open:p/q", the mask 0 or 1, the class "constant",
   "polynomial", "analytic", "C0", "C1", … or "discontinuous". *)

open Checker

exception Damaged of string

let words = Str.split (Str.regexp " +")
let z = Big_int_Z.big_int_of_string

let rec nat n = if n <= 0 then O else S (nat (n - 1))

(* Whole numbers that are counted in steps: axes, exponents, distances to arguments. *)
let small limit text =
  match int_of_string_opt text with
  | Some n when 0 <= n && n <= limit -> n
  | _ -> raise (Damaged ("expected a number from 0 to " ^ string_of_int limit ^ ", but got " ^ text))

let axis text = nat (small 64 text)

let largest = 1 lsl 45 (* entries of a tensor *)
let size text = small largest text
let most = 1 lsl 16 (* arguments of a node: so many sizes add up to less than 2^62 *)

let sizes texts =
  let dims = List.map size texts in
  let product = List.fold_left (fun m n -> if m <> 0 && n > largest / m then largest + 1 else m * n) 1 in
  if product (List.filter (fun n -> n <> 0) dims) > largest then raise (Damaged "a tensor has too many entries") else dims

(* The sizes of a slice and what it starts at are small each, and its end is as large as their product. *)
let expect_end_in_reach start step n =
  let last = Big_int_Z.(add_int_big_int start (mult_int_big_int step (big_int_of_int (max 0 (n - 1))))) in
  if Big_int_Z.gt_big_int last (Big_int_Z.big_int_of_int largest) then
    raise (Damaged ("a slice ends at " ^ Big_int_Z.string_of_big_int last ^ ", beyond every tensor"))

let positive text =
  let n = z text in
  if Big_int_Z.sign_big_int n <= 0 then raise (Damaged ("expected a positive number, but got " ^ text)) else n

let rational text =
  match String.split_on_char '/' text with
  | [ p ] -> { qnum = z p; qden = Big_int_Z.unit_big_int }
  | [ p; q ] -> { qnum = z p; qden = positive q }
  | _ -> raise (Damaged ("expected a rational, but got " ^ text))

let optional text = if text = "-" then None else Some (rational text)
let flag = function "0" -> false | "1" -> true | text -> raise (Damaged ("expected 0 or 1, but got " ^ text))

let finish text =
  if text = "-" then None
  else
    match String.split_on_char ':' text with
    | [ "closed"; q ] -> Some (rational q, false)
    | [ "open"; q ] -> Some (rational q, true)
    | _ -> raise (Damaged ("expected an end, but got " ^ text))

let unary = function
  | [ "negate" ] -> Neg
  | [ "exp" ] -> Exp
  | [ "expm1" ] -> Expm1
  | [ "log" ] -> Log
  | [ "log1p" ] -> Log1p
  | [ "sqrt" ] -> Sqrt
  | [ "rsqrt" ] -> Rsqrt
  | [ "sigmoid" ] -> Sigmoid
  | [ "tanh" ] -> Tanh
  | [ "erf" ] -> Erf
  | [ "sin" ] -> Sin
  | [ "cos" ] -> Cos
  | [ "gelu" ] -> Gelu
  | [ "tanh_gelu" ] -> TanhGelu
  | [ "silu" ] -> Silu
  | [ "mish" ] -> Mish
  | [ "softplus"; beta ] -> Softplus (rational beta)
  | [ "relu" ] -> Relu
  | [ "absolute" ] -> Absolute
  | [ "leaky_relu"; slope ] -> LeakyRelu (rational slope)
  | [ "elu"; scale ] -> Elu (rational scale)
  | [ "clamp"; low; high ] -> Clamp (optional low, optional high)
  | [ "power"; n ] -> Power (nat (small 1024 n))
  | [ "floor" ] -> Floor
  | [ "whole_quotient"; by ] -> WholeQuotient (positive by)
  | [ "remainder"; by ] -> Remainder (positive by)
  | [ ("as_real" | "as_integer") ] -> Convert
  | [ "opposite" ] -> Opposite
  | others -> raise (Damaged ("there is no operation " ^ String.concat " " others))

let operation = function
  | [ "tokens"; n ] -> Tokens (positive n)
  | [ "parameter"; number ] -> Coordinate (size number)
  | [ "given"; number ] -> Given (size number)
  | "constant" :: default :: entries -> Constant (optional default, List.map optional entries)
  | [ "reshape" ] -> Moved Reshape
  | "permute" :: order -> Moved (Permute (List.map axis order))
  | [ "expand" ] -> Moved Expand
  | [ "slice"; a; start; step ] -> Moved (Slice (axis a, size start, size step))
  | [ "concatenate"; a ] -> Moved (Concatenate (axis a))
  | [ "add" ] -> Binary Add
  | [ "subtract" ] -> Binary Subtract
  | [ "multiply" ] -> Binary Multiply
  | [ "divide" ] -> Binary Divide
  | [ "maximum" ] -> Binary Maximum
  | [ "minimum" ] -> Binary Minimum
  | [ "greater" ] -> Binary Greater
  | [ "at_most" ] -> Binary AtMost
  | [ "equal" ] -> Binary Equal
  | [ "both" ] -> Binary Both
  | [ "either" ] -> Binary Either
  | "sum" :: keep :: reduced -> Sum (List.map flag reduced, flag keep)
  | "mean" :: keep :: reduced -> Mean (List.map flag reduced, flag keep)
  | [ "cumulative_sum"; a ] -> CumulativeSum (axis a)
  | [ "softmax"; a ] -> Softmax (axis a)
  | [ "log_sum_exp"; a ] -> LogSumExp (axis a)
  | [ "layer_norm"; axes; epsilon ] -> LayerNorm (axis axes, rational epsilon)
  | [ "largest"; keep; a ] -> Largest (axis a, flag keep)
  | [ "top_values"; a; n ] -> TopValues (axis a, size n)
  | [ "top_indices"; a; n ] -> TopIndices (axis a, size n)
  | [ "matmul" ] -> MatMul
  | [ "take"; a ] -> Take (axis a)
  | [ "gather"; a ] -> Gather (axis a)
  | [ "scatter"; a ] -> Scatter (axis a)
  | [ "select" ] -> Select
  | [ "unknown" ] -> Unknown
  | others -> Unary (unary others)

let kind = function
  | "real" -> Real
  | "integer" -> Whole
  | "boolean" -> Truth
  | text -> raise (Damaged ("expected a kind, but got " ^ text))

let regularity = function
  | "constant" -> Still
  | "polynomial" -> Smooth Polynomial
  | "analytic" -> Smooth Analytic
  | "discontinuous" -> Jumping
  | text when String.length text > 1 && text.[0] = 'C' ->
      Smooth (C (nat (small 1024 (String.sub text 1 (String.length text - 1)))))
  | text -> raise (Damaged ("expected a class, but got " ^ text))

let claim = function
  | [ "nothing" ] -> (Nothing, Jumping)
  | [ "bounds"; low; high; mask; c ] -> (Claimed ({ low = finish low; high = finish high }, flag mask), regularity c)
  | others -> raise (Damaged ("expected a claim, but got " ^ String.concat " " others))

let node line =
  match List.map words (String.split_on_char ';' line) with
  | [ o; k :: dims; args; c ] ->
      let result = { dims = sizes dims; of_kind = kind k } in
      if List.compare_length_with args most > 0 then raise (Damaged "a node has too many arguments");
      (match o with
      | [ "slice"; a; start; step ] ->
          Option.iter (expect_end_in_reach (size start) (size step)) (List.nth_opt result.dims (small 64 a))
      | _ -> ());
      let claimed, c = claim c in
      (({ operation = operation o; arguments = List.map (fun d -> nat (small 2097152 d)) args; result }, claimed), c)
  | _ -> raise (Damaged "expected a node of four parts")

let shown_end = function
  | None -> "-"
  | Some (q, strict) ->
      Printf.sprintf "%s:%s/%s"
        (if strict then "open" else "closed")
        (Big_int_Z.string_of_big_int q.qnum) (Big_int_Z.string_of_big_int q.qden)

let shown = function
  | Ill_typed -> "the type is not the one that follows"
  | Does_not_follow Unproved -> "nothing follows"
  | Does_not_follow (Proved l) ->
      Printf.sprintf "what follows is bounds %s %s %d" (shown_end l.limits.low) (shown_end l.limits.high)
        (if unmasked l then 0 else 1)

let rec whole = function O -> 0 | S n -> 1 + whole n

let shown_class = function
  | Still -> "constant"
  | Smooth Polynomial -> "polynomial"
  | Smooth Analytic -> "analytic"
  | Smooth (C n) -> "C" ^ string_of_int (whole n)
  | Jumping -> "discontinuous"

let shown_objection = function
  | Of_bounds why -> shown why
  | Of_class derived -> "the class that follows is " ^ shown_class derived

let show_masks name index cell =
  match cell.state with
  | Proved ({ mask0 = Some _; _ } as line) ->
      let held = List.filter (masked cell.typed line) (places cell.typed) in
      Printf.printf "mask %s %d %s\n" name index (String.concat " " (List.map string_of_int held))
  | _ -> ()

let judge name nodes =
  match check_classes (List.rev nodes) [] [] 0 with
  | Inl (cells, _) ->
      if Array.mem "--masks" Sys.argv then List.iteri (show_masks name) (List.rev cells);
      Printf.printf "accepted %s %d\n" name (List.length cells)
  | Inr (index, why) -> Printf.printf "refused %s %s: %s\n" name (string_of_int index) (shown_objection why)

let () =
  let name = ref "" and nodes = ref [] and started = ref false in
  let finished () = if !started then judge !name !nodes in
  try
    (try
       while true do
         let line = input_line stdin in
         match words line with
         | [ "network"; n ] ->
             finished ();
             name := n;
             nodes := [];
             started := true
         | _ -> nodes := node line :: !nodes
       done
     with End_of_file -> finished ())
  with Damaged reason | Failure reason | Invalid_argument reason ->
    Printf.eprintf "Expected networks as text, but %s.\n" reason;
    exit 2
